"""The targets found in images and frames as a table with units, by astropy."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from distax.cli.unmix.answers import Answer, FrameAnswer
from distax.imaging.sensor import Sensor
from distax.runtime.errors import DistaxError, first_line
from distax.runtime.files import atomic_write, check_suffix
from distax.runtime.version import __version__

if TYPE_CHECKING:
    from astropy.table import MaskedColumn, Table

FORMATS = {".ecsv": "ascii.ecsv", ".fits": "fits"}
"""Astropy's name of the format, by a file's suffix."""

_INTENSITIES = ("intensity", "intensity_std")
_UNITS = {
    "row": "pix",
    "column": "pix",
    "row_std": "pix",
    "column_std": "pix",
    "ra": "deg",
    "dec": "deg",
}
_TYPES = {"file": str, "image": int, "flags": str, "blob": int}
"""Of the columns that are not real numbers."""
_COLUMNS = (
    *("file", "image", "row", "column", "intensity", "row_std", "column_std", "intensity_std"),
    *("score", "count_probability", "misfit", "blob", "flags", "ra", "dec"),
)


@dataclass(frozen=True)
class Means:
    """What targets were found by.

    Attributes:
      method: its name.
      sensor: that was taken for the camera.
      threshold: signal-to-noise ratio above which a frame's peak was a blob, or counts above which
        a grid's node was a target; None where the method has none.
    """

    method: str
    sensor: Sensor
    threshold: float | None

    @classmethod
    def header(cls, means: Iterable["Means"]) -> dict[str, str]:
        """What the header of a file says of all answers in it; what differs is said in a row."""
        every = list(means)
        said: dict[str, Iterable[object]] = {
            "DISTAX": [__version__],
            "METHOD": [one.method for one in every],
            "SENSOR": [one.sensor for one in every],
            "THRESH": [f"{one.threshold:.4g}" for one in every if one.threshold is not None],
        }
        return {key: "; ".join(dict.fromkeys(map(str, values))) for key, values in said.items()}


def check_table_path(path: Path) -> None:
    """Raise DistaxError for a suffix that names no format of tables."""
    check_suffix(path, "tables", FORMATS)


def write_table(
    path: Path, answers: Sequence[Answer | FrameAnswer], header: Mapping[str, str]
) -> None:
    """Write a row a target, with units on the columns; what does not apply is masked.

    Args:
      path: .ecsv or .fits, written whole or not at all.
      answers: to images and frames.
      header: of the file.

    Raises:
      DistaxError: another suffix, intensities in several units, text that the format cannot hold,
        or the file cannot be written.
    """
    check_table_path(path)
    table = _table(path, answers, header)
    with atomic_write(path) as temporary:
        try:
            table.write(temporary, format=FORMATS[path.suffix], overwrite=True)
        except ValueError as error:
            raise DistaxError(
                f"{path}: {FORMATS[path.suffix]} cannot hold the table ({first_line(error)}); "
                "write it as .ecsv"
            ) from error


def _table(
    path: Path, answers: Sequence[Answer | FrameAnswer], header: Mapping[str, str]
) -> "Table":
    from astropy.table import Table

    unit = _one_unit(path, answers)
    units = _UNITS | dict.fromkeys(_INTENSITIES, unit)
    rows = [row for answer in answers for row in rows_of(answer)]
    columns = {name: _column(name, rows, units.get(name)) for name in _COLUMNS}
    return Table(columns, meta=dict(header))


def _one_unit(path: Path, answers: Sequence[Answer | FrameAnswer]) -> str:
    """Of all intensities; astropy's name of counts if the files do not say."""
    units = {getattr(answer, "unit", "") or "ct" for answer in answers} or {"ct"}
    if len(units) > 1:
        raise DistaxError(
            f"{path}: not written: intensities are in {' and '.join(sorted(units))}, and a column "
            "has one unit; unmix the files by two commands"
        )
    return units.pop()


def rows_of(answer: Answer | FrameAnswer) -> Iterable[dict[str, Any]]:
    """What is said of each of an answer's targets, by column."""
    if isinstance(answer, FrameAnswer):
        return answer.rows
    # An image has no flags but this one, by the name that it has in frames.
    flags = "unsure" if answer.trusted is False else ""
    return [row | {"flags": flags} for row in answer.rows]


def _column(name: str, rows: Sequence[Mapping[str, Any]], unit: str | None) -> "MaskedColumn":
    from astropy.table import MaskedColumn
    from astropy.units import Unit

    values = [row.get(name) for row in rows]
    kind = _TYPES.get(name, float)
    known: np.ndarray = np.array([kind() if value is None else value for value in values], kind)
    return MaskedColumn(
        known,
        mask=[value is None for value in values],
        # What astropy does not know stays as the file spells it.
        unit=unit and Unit(unit, parse_strict="silent"),
    )
