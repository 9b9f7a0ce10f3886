"""Answers of `distax unmix` as a table on the terminal, as CSV and as an astropy table."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from rich.table import Table
from rich.text import Text

from distax.cli.console import wide_console
from distax.cli.unmix.answers import Answer, FrameAnswer
from distax.frames import FramePrior
from distax.imaging.scenes import ScenePrior
from distax.imaging.sensor import Sensor
from distax.runtime.errors import DistaxError, first_line
from distax.runtime.files import atomic_write, check_suffix
from distax.runtime.optional import require
from distax.runtime.terminal import printable
from distax.runtime.version import __version__

if TYPE_CHECKING:
    from astropy import table as astropy_table

FORMATS = {".ecsv": "ascii.ecsv", ".fits": "fits"}
"""Astropy's name of each format, by the suffix of the file."""

MOST_ROWS, MOST_PRINTED = 20, 100
"""Largest number of rows of a file, and of all files, on the terminal. More scroll out of view."""
_NO_TARGET = 3
"""Key of images without targets, which come after every target."""
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
"""Types of the columns that do not hold real numbers."""
_COLUMNS = (
    *("file", "image", "row", "column", "intensity", "row_std", "column_std", "intensity_std"),
    *("score", "count_probability", "misfit", "blob", "flags", "ra", "dec", "point_probability"),
)


def print_table(answers: Sequence[Answer | FrameAnswer], written: Path | None = None) -> None:
    """Prints a row for each target, and one for each image without targets.

    Of a file with more than `MOST_ROWS` rows, the most trustworthy targets are printed. The whole
    table has at most `MOST_PRINTED` rows. A line below says where the others are.

    Args:
      answers: the answers, in the order of their files.
      written: a file that holds all targets. Default: the options that write one are named.
    """
    by_file: dict[str, list[_Row]] = {}
    for answer in answers:
        by_file.setdefault(answer.file, []).extend(_printed_rows(answer))
    rows = [row.cells for some in by_file.values() for row in _best(some)][:MOST_PRINTED]
    columns = _merge(rows)
    table = Table(*columns)
    for row in rows:
        table.add_row(*(Text(printable(row.get(name, ""))) for name in columns))
    wide_console().print(table)
    if left_out := sum(map(len, by_file.values())) - len(rows):
        place = f"{written} has all" if written else "--csv FILE or --json FILE writes all"
        print(f"and {left_out:,} more: {place} (shown: the most trustworthy of each file)")


class _Row(NamedTuple):
    """A row of the printed table, and a key by which the most trustworthy target comes first."""

    key: tuple[float, ...]
    cells: dict[str, str]


def _best(rows: Sequence[_Row]) -> Sequence[_Row]:
    """Returns all of a few rows in their order, or the most trustworthy of many."""
    if len(rows) <= MOST_ROWS:
        return rows
    return sorted(rows, key=lambda row: row.key)[:MOST_ROWS]


def _printed_rows(answer: Answer | FrameAnswer) -> Iterator[_Row]:
    """Yields the rows of an answer as text, by column."""
    name = {"file": answer.file, "image": str(answer.image)}
    empty = dict.fromkeys(("column / px", "intensity", "score"), "")
    if not answer.targets:
        yield _Row((_NO_TARGET,), name | {"row / px": "no target"} | empty | answer.remarks[0])
    for target, doubt, remark in zip(answer.targets, answer.doubts, answer.remarks, strict=False):
        found = {
            "row / px": _format(target.row, target.row_std, 3),
            "column / px": _format(target.column, target.column_std, 3),
            "intensity": _format(target.intensity, target.intensity_std, 1),
            "score": f"{target.score:.3g}",
        }
        yield _Row((doubt, -target.score, -target.intensity), name | found | remark)


def _merge(keys: Iterable[Iterable[str]]) -> list[str]:
    """Returns all keys without repetitions, in order of first appearance."""
    return list(dict.fromkeys(key for some in keys for key in some))


def _format(value: float, std: float | None, digits: int) -> str:
    """Returns a value as text, with its standard deviation if there is one."""
    return f"{value:.{digits}f}" + ("" if std is None else f" ± {std:.{digits}f}")


def to_csv(answers: Sequence[Answer | FrameAnswer]) -> str:
    """Returns CSV text with a header line and one line per target.

    Entries that do not apply to a target are empty. Without answers, the header is that of images.
    """
    text = io.StringIO()
    columns = _merge(answer.columns for answer in answers or (Answer,))
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for answer in answers:
        writer.writerows(row | {"file": _harmless(answer.file)} for row in answer.rows)
    return text.getvalue()


def _harmless(file: str) -> str:
    """Returns a path to the same file that no spreadsheet takes for a formula."""
    return f"./{file}" if file.startswith(("=", "+", "-", "@", "\t", "\r")) else file


@dataclass(frozen=True)
class Provenance:
    """Method and settings that gave an answer.

    Attributes:
      method: name of the method.
      sensor: sensor that the method assumed.
      prior: prior that the method assumed; None for a model, which has that of its training.
      threshold: signal-to-noise ratio above which a peak of a frame is a blob, or counts above
        which a grid node is a target; None if the method has no threshold.
    """

    method: str
    sensor: Sensor
    prior: ScenePrior | FramePrior | None
    threshold: float | None

    @classmethod
    def header(cls, provenances: Iterable["Provenance"]) -> dict[str, str]:
        """Returns header entries for a file of answers. Values that differ are joined by "; "."""
        every = list(provenances)
        entries: dict[str, Iterable[object]] = {
            "DISTAX": [__version__],
            "METHOD": [one.method for one in every],
            "SENSOR": [one.sensor for one in every],
            "PRIOR": [one.prior for one in every if one.prior is not None],
            "THRESH": [f"{one.threshold:.4g}" for one in every if one.threshold is not None],
        }
        return {key: "; ".join(dict.fromkeys(map(str, values))) for key, values in entries.items()}


def check_table_path(path: Path) -> None:
    """Raises DistaxError for a suffix that names no format of tables."""
    check_suffix(path, "tables", FORMATS)
    require("astropy", "tables")


def write_table(
    path: Path, answers: Sequence[Answer | FrameAnswer], header: Mapping[str, str]
) -> None:
    """Writes a table of one row per target, with units; entries that do not apply are masked.

    Args:
      path: .ecsv or .fits file, written atomically.
      answers: answers for images and frames.
      header: header of the file.

    Raises:
      DistaxError: another suffix, intensities in different units, text that the format cannot hold,
        or a file that cannot be written.
    """
    check_table_path(path)
    table = _astropy_table(path, answers, header)
    with atomic_write(path) as temporary:
        try:
            table.write(temporary, format=FORMATS[path.suffix], overwrite=True)
        except ValueError as error:
            raise DistaxError(
                f"{path}: {FORMATS[path.suffix]} cannot hold the table ({first_line(error)}); "
                "write it as .ecsv"
            ) from error


def _astropy_table(
    path: Path, answers: Sequence[Answer | FrameAnswer], header: Mapping[str, str]
) -> "astropy_table.Table":
    from astropy import table as astropy_table

    unit = _intensity_unit(path, answers)
    units = _UNITS | dict.fromkeys(_INTENSITIES, unit)
    rows = [row for answer in answers for row in table_rows(answer)]
    columns = {name: _column(name, rows, units.get(name)) for name in _COLUMNS}
    return astropy_table.Table(columns, meta=dict(header))


def _intensity_unit(path: Path, answers: Sequence[Answer | FrameAnswer]) -> str:
    """Returns the unit of all intensities: the files' unit, or "ct" (counts) if they give none."""
    units = {getattr(answer, "unit", "") or "ct" for answer in answers} or {"ct"}
    if len(units) > 1:
        raise DistaxError(
            f"{path}: not written: intensities are in {' and '.join(sorted(units))}, and a column "
            "has one unit; run the command once for each unit"
        )
    return units.pop()


def table_rows(answer: Answer | FrameAnswer) -> Iterable[dict[str, Any]]:
    """Returns the rows of an answer, one per target, with the flags of images under `flags`."""
    if isinstance(answer, FrameAnswer):
        return answer.rows
    # The only flag of an image, named as in frames.
    flags = "unsure" if answer.trusted is False else ""
    return [row | {"flags": flags} for row in answer.rows]


def _column(
    name: str, rows: Sequence[Mapping[str, Any]], unit: str | None
) -> "astropy_table.MaskedColumn":
    from astropy import table as astropy_table
    from astropy.units import Unit

    values = [row.get(name) for row in rows]
    kind = _TYPES.get(name, float)
    known: np.ndarray = np.array([kind() if value is None else value for value in values], kind)
    return astropy_table.MaskedColumn(
        known,
        mask=[value is None for value in values],
        # Units that astropy does not know keep the spelling of the file.
        unit=unit and Unit(unit, parse_strict="silent"),
    )
