"""Parsing of JSON that somebody else may have written."""

import json
from typing import Any


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
