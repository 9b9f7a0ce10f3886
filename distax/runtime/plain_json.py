"""JSON: parsing of what somebody else may have written, and writing of what others can read."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from etils import epath

from distax.runtime.buckets import is_in_bucket
from distax.runtime.errors import DistaxError
from distax.runtime.files import write_text


def format_json(where: object, value: Any, indent: int | None = None) -> str:
    """Formats plain values as JSON, which has no number that is NaN or infinite.

    Args:
      where: what the text is for, for the error message.
      value: the values.
      indent: spaces of a level. Default: all on one line.

    Raises:
      DistaxError: a number is NaN or infinite.
    """
    try:
        return json.dumps(value, indent=indent, allow_nan=False)
    except ValueError:
        for keys, number in _not_finite(value):
            raise DistaxError(
                f"{where}: not written, as {'.'.join(keys) or 'its value'} is {number}, which "
                "JSON cannot hold"
            ) from None
        raise


def _not_finite(value: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], float]]:
    """Yields the numbers that are not finite, each with the keys that lead to it."""
    if isinstance(value, float) and not math.isfinite(value):
        yield keys, value
    elif isinstance(value, Mapping | list | tuple):
        inner = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, one in inner:
            yield from _not_finite(one, (*keys, str(key)))


def write_json(path: Path, value: Any) -> None:
    """Writes plain values as a JSON file, atomically.

    Raises:
      DistaxError: a number is NaN or infinite, or the file cannot be written.
    """
    write_text(path, format_json(path, value, indent=2) + "\n")


def parse_json(text: str | bytes) -> Any:
    """Parses JSON.

    Raises:
      ValueError: the text is not JSON, or is nested more deeply than Python can follow.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("its values are nested too deeply") from None


def parse_table(text: str | bytes) -> dict[str, Any]:
    """Parses JSON whose outermost value is a table.

    Raises:
      ValueError: as `parse_json`, or the outermost value is of another kind.
    """
    table = parse_json(text)
    if not isinstance(table, dict):
        raise ValueError("its outermost value is no table")
    return table


def read_table(path: Path | epath.Path) -> dict[str, Any]:
    """Reads a JSON file whose outermost value is a table.

    Raises:
      ValueError: as `parse_table`, or there is a pipe or a device, which may never end.
      OSError: the file cannot be read.
    """
    # To etils, pipes and devices are files. To pathlib they are not.
    if not is_in_bucket(path) and path.exists() and not Path(path).is_file():
        raise ValueError(f"{path.parent.name}/{path.name} is no regular file")
    return parse_table(path.read_bytes())
