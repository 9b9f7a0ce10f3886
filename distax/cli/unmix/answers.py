"""The targets found in images and frames, as a table, CSV and JSON."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import EllipsisType
from typing import Any, ClassVar

import numpy as np
from jax import Array
from rich.table import Table

from distax.cli.console import wide_console
from distax.frames import Flag, FrameTargets
from distax.imaging.targets import Targets
from distax.io.frames import Frame


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
class FrameTarget(Target):
    """A target of a frame: where it belongs and how far it can be relied upon.

    Attributes:
      blob: number of its blob, the most significant being 0.
      flags: names of the `Flag`s that hold.
      misfit: of its blob's window.
      count_probability: that its blob has so many targets.
      ra, dec: on the sky in degrees (ICRS); None without celestial coordinates.
    """

    blob: int
    flags: tuple[str, ...]
    misfit: float
    count_probability: float
    ra: float | None
    dec: float | None


def _names(kind: type[Target]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


_ABOUT_IMAGES = ("trusted", "count_probability", "misfit")
"""What is known of an image as a whole."""


@dataclass(frozen=True)
class Answer:
    """What was found in one image of a file.

    Attributes:
      trusted: False where the answer should not be relied upon; None if the method cannot tell.
      count_probability: that the image has so many targets, where the method knows.
      misfit: of the image, where the method knows.
    """

    file: str
    image: int
    targets: tuple[Target, ...]
    trusted: bool | None
    count_probability: float | None
    misfit: float | None

    columns: ClassVar[tuple[str, ...]] = ("file", "image", *_names(Target), *_ABOUT_IMAGES)
    """Of `rows`."""

    @property
    def rows(self) -> Iterator[dict[str, Any]]:
        """What CSV says of each target, by column."""
        about = {name: getattr(self, name) for name in _ABOUT_IMAGES}
        for target in self.targets:
            yield {"file": self.file, "image": self.image} | asdict(target) | about

    @property
    def remarks(self) -> list[dict[str, str]]:
        """What the table says besides of each target, or of an image without any."""
        remark = "not to be trusted" if self.trusted is False else ""
        return [{"": remark}] * max(len(self.targets), 1)


@dataclass(frozen=True)
class FrameAnswer:
    """What was found in one frame of a file.

    Attributes:
      height, width: of the frame in pixels.
      unit: of intensities, background and noise, as the file says; empty for counts.
      saturation: where its pixels are saturated, if the file says so.
      background, noise: of the frame's background, medians over the frame.
      threshold: signal-to-noise ratio above which a peak was taken for a blob.
      blobs: how many there are.
    """

    file: str
    image: int
    targets: tuple[FrameTarget, ...]
    height: int
    width: int
    unit: str
    saturation: float | None
    background: float
    noise: float
    threshold: float
    blobs: int

    columns: ClassVar[tuple[str, ...]] = ("file", "image", *_names(FrameTarget))
    """Of `rows`."""

    @property
    def rows(self) -> Iterator[dict[str, Any]]:
        """What CSV says of each target, by column."""
        for target in self.targets:
            flags = {"flags": " ".join(target.flags)}
            yield {"file": self.file, "image": self.image} | asdict(target) | flags

    @property
    def remarks(self) -> list[dict[str, str]]:
        """What the table says besides of each target, or of a frame without any."""
        return [_remark(target) for target in self.targets] or [{}]


def _remark(target: FrameTarget) -> dict[str, str]:
    sky = {"ra / °": target.ra, "dec / °": target.dec}
    on_sky = {name: f"{angle:.6f}" for name, angle in sky.items() if angle is not None}
    return {"blob": str(target.blob)} | on_sky | {"": ", ".join(target.flags)}


def answers_for(sources: Sequence[tuple[Path, int]], found: Targets) -> list[Answer]:
    """Answers for images, given by file and number in it, from their targets `[N, K]`."""
    return [
        Answer(
            file=str(file),
            image=number,
            targets=tuple(Target(**values) for values in _values(found, row)),
            trusted=None if found.trusted is None else bool(found.trusted[row]),
            count_probability=_number(found.count_probability, row),
            misfit=_number(found.misfit, row),
        )
        for row, (file, number) in enumerate(sources)
    ]


def _number(values: Array | np.ndarray | None, row: int) -> float | None:
    return None if values is None else float(values[row])


def answer_for_frame(source: tuple[Path, int], frame: Frame, found: FrameTargets) -> FrameAnswer:
    """The answer for a frame, given by file and number in it, from what was found in it."""
    targets = found.targets
    ra, dec = frame.sky(*targets.position.T) if frame.sky else (None, None)
    return FrameAnswer(
        file=str(source[0]),
        image=source[1],
        targets=tuple(
            FrameTarget(
                **values,
                blob=int(found.blob[k]),
                flags=Flag(int(found.flags[k])).names,
                misfit=float(found.misfit[k]),
                count_probability=float(found.count_probability[k]),
                ra=None if ra is None else float(ra[k]),
                dec=None if dec is None else float(dec[k]),
            )
            for k, values in enumerate(_values(targets, ...))
        ),
        height=frame.shape[0],
        width=frame.shape[1],
        unit=frame.unit,
        saturation=frame.saturation,
        background=float(np.median(found.background.level)),
        noise=float(np.median(found.background.noise)),
        threshold=found.threshold,
        blobs=len(found.blobs.pixel),
    )


def _values(found: Targets, row: int | EllipsisType) -> Iterator[dict[str, Any]]:
    """What is known of each target of an image."""
    spread, deviation = found.position_std, found.intensity_std
    columns = {
        "row": found.position[row][:, 0],
        "column": found.position[row][:, 1],
        "intensity": found.intensity[row],
        "score": found.score[row],
        "row_std": None if spread is None else spread[row][:, 0],
        "column_std": None if spread is None else spread[row][:, 1],
        "intensity_std": None if deviation is None else deviation[row],
    }
    known = {name: value if value is None else np.asarray(value) for name, value in columns.items()}
    for slot in np.flatnonzero(np.asarray(found.mask)[row]):
        yield {name: None if value is None else float(value[slot]) for name, value in known.items()}


def print_table(answers: Sequence[Answer | FrameAnswer]) -> None:
    """Print a row a target; an image without targets has a row that says so."""
    rows = [row for answer in answers for row in _table_rows(answer)]
    # Remarks come last, whatever other columns there are.
    columns = [name for name in _union(rows) if name] + [""]
    table = Table(*columns)
    for row in rows:
        table.add_row(*(row.get(name, "") for name in columns))
    wide_console().print(table)


def _table_rows(answer: Answer | FrameAnswer) -> Iterator[dict[str, str]]:
    name = {"file": answer.file, "image": str(answer.image)}
    empty = dict.fromkeys(("column / px", "intensity", "score"), "")
    if not answer.targets:
        yield name | {"row / px": "no target"} | empty | answer.remarks[0]
    for target, remark in zip(answer.targets, answer.remarks, strict=False):
        found = {
            "row / px": _with_std(target.row, target.row_std, 3),
            "column / px": _with_std(target.column, target.column_std, 3),
            "intensity": _with_std(target.intensity, target.intensity_std, 1),
            "score": f"{target.score:.3g}",
        }
        yield name | found | remark


def _union(keys: Iterable[Iterable[str]]) -> list[str]:
    """All keys, each once, in the order of their first appearance."""
    return list(dict.fromkeys(key for some in keys for key in some))


def _with_std(value: float, std: float | None, digits: int) -> str:
    return f"{value:.{digits}f}" + ("" if std is None else f" ± {std:.{digits}f}")


def to_csv(answers: Sequence[Answer | FrameAnswer]) -> str:
    """A line a target under a header line; what does not apply to it stays empty.

    Without answers the header is that of images.
    """
    text = io.StringIO()
    columns = _union(answer.columns for answer in answers or (Answer,))
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(row for answer in answers for row in answer.rows)
    return text.getvalue()
