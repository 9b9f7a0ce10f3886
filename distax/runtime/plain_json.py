"""Parsing of JSON that somebody else may have written."""

import json
from pathlib import Path
from typing import Any

from etils import epath

from distax.runtime.buckets import is_in_bucket


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
        raise ValueError("its description is no table")
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
