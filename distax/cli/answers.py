"""The targets found in image files, as a table, CSV and JSON."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from rich.table import Table

from distax.cli.report import wide_console
from distax.targets import Targets


@dataclass(frozen=True)
class Target:
    """One target: position in pixels, intensity in counts, and what it is ranked by.

    Standard deviations are None where the method does not know them.
    """

    row: float
    column: float
    intensity: float
    score: float
    row_std: float | None
    column_std: float | None
    intensity_std: float | None


@dataclass(frozen=True)
class Answer:
    """What was found in one image of a file.

    Attributes:
      trusted: False where the answer should not be relied upon; None if the method cannot tell.
      count_probability: that the image has so many targets, where the method knows.
    """

    file: str
    image: int
    targets: tuple[Target, ...]
    trusted: bool | None
    count_probability: float | None


def answers_for(sources: Sequence[tuple[Path, int]], found: Targets) -> list[Answer]:
    """Answers for images, given by file and number in it, from their targets `[N, K]`."""
    mask, spread = np.asarray(found.mask), found.position_std
    position_std = None if spread is None else np.asarray(spread)
    return [
        Answer(
            file=str(file),
            image=number,
            targets=tuple(
                _target(found, position_std, row, int(slot)) for slot in np.flatnonzero(mask[row])
            ),
            trusted=None if found.trusted is None else bool(found.trusted[row]),
            count_probability=(
                None if found.count_probability is None else float(found.count_probability[row])
            ),
        )
        for row, (file, number) in enumerate(sources)
    ]


def _target(found: Targets, spread: np.ndarray | None, row: int, slot: int) -> Target:
    intensity_std = found.intensity_std
    return Target(
        row=float(found.position[row, slot, 0]),
        column=float(found.position[row, slot, 1]),
        intensity=float(found.intensity[row, slot]),
        score=float(found.score[row, slot]),
        row_std=None if spread is None else float(spread[row, slot, 0]),
        column_std=None if spread is None else float(spread[row, slot, 1]),
        intensity_std=None if intensity_std is None else float(intensity_std[row, slot]),
    )


def print_table(answers: Sequence[Answer]) -> None:
    """Print a row a target; an image without targets has a row that says so."""
    table = Table("file", "image", "row / px", "column / px", "intensity", "score", "")
    for answer in answers:
        name = (answer.file, str(answer.image))
        remark = "not to be trusted" if answer.trusted is False else ""
        if not answer.targets:
            table.add_row(*name, "no target", "", "", "", remark)
        for target in answer.targets:
            table.add_row(
                *name,
                _with_std(target.row, target.row_std, 3),
                _with_std(target.column, target.column_std, 3),
                _with_std(target.intensity, target.intensity_std, 1),
                f"{target.score:.3g}",
                remark,
            )
    wide_console().print(table)


def _with_std(value: float, std: float | None, digits: int) -> str:
    return f"{value:.{digits}f}" + ("" if std is None else f" ± {std:.{digits}f}")


def to_csv(answers: Sequence[Answer]) -> str:
    """A line a target under a header line."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = [field.name for field in fields(Target)]
    writer.writerow(["file", "image", *columns, "trusted", "count_probability"])
    writer.writerows(_rows(answers))
    return text.getvalue()


def to_json(answers: Sequence[Answer]) -> str:
    """A list of images, each with its list of targets."""
    return json.dumps([asdict(answer) for answer in answers], indent=2) + "\n"


def _rows(answers: Sequence[Answer]) -> Iterator[tuple[str | int | float | None, ...]]:
    for answer in answers:
        about = (answer.trusted, answer.count_probability)
        for target in answer.targets:
            yield answer.file, answer.image, *asdict(target).values(), *about
