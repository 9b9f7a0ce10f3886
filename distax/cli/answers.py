"""The targets found in image files, as a table, CSV and JSON."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.table import Table

from distax.cli.report import wide_console
from distax.targets import Targets


@dataclass(frozen=True)
class Target:
    """One target: position in pixels, intensity in counts, and what it is ranked by."""

    row: float
    column: float
    intensity: float
    score: float


@dataclass(frozen=True)
class Answer:
    """What was found in one image of a file."""

    file: str
    image: int
    targets: tuple[Target, ...]


def answers_for(sources: Sequence[tuple[Path, int]], found: Targets) -> list[Answer]:
    """Answers for images, given by file and number in it, from their targets `[N, K]`."""
    columns = np.concatenate(
        [found.position, found.intensity[..., None], found.score[..., None]], axis=-1
    )
    return [
        Answer(str(file), index, tuple(Target(*map(float, row)) for row in values[mask]))
        for (file, index), values, mask in zip(
            sources, columns, np.asarray(found.mask), strict=True
        )
    ]


def print_table(answers: Sequence[Answer]) -> None:
    """Print a row a target; an image without targets has a row that says so."""
    table = Table("file", "image", "row / px", "column / px", "intensity", "score")
    for answer in answers:
        name = (answer.file, str(answer.image))
        if not answer.targets:
            table.add_row(*name, "no target", "", "", "")
        for target in answer.targets:
            table.add_row(
                *name,
                f"{target.row:.3f}",
                f"{target.column:.3f}",
                f"{target.intensity:.1f}",
                f"{target.score:.1f}",
            )
    wide_console().print(table)


def to_csv(answers: Sequence[Answer]) -> str:
    """A line a target under a header line."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "image", "row", "column", "intensity", "score"])
    writer.writerows(_rows(answers))
    return text.getvalue()


def to_json(answers: Sequence[Answer]) -> str:
    """A list of images, each with its list of targets."""
    return json.dumps([asdict(answer) for answer in answers], indent=2) + "\n"


def _rows(answers: Sequence[Answer]) -> Iterator[tuple[str | int | float, ...]]:
    for answer in answers:
        for target in answer.targets:
            yield answer.file, answer.image, *asdict(target).values()
