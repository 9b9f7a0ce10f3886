"""Small HTML tables for notebooks."""

from collections.abc import Iterable, Mapping
from html import escape


def plain_table(headings: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """Makes an HTML table of text with a line of headings."""
    return _table([_row("th", headings), *(_row("td", row) for row in rows)])


def fact_table(facts: Mapping[str, object]) -> str:
    """Makes an HTML table with a name and its value in each row."""
    return _table([_row("td", fact) for fact in facts.items()])


def _row(tag: str, cells: Iterable[object]) -> str:
    inner = "".join(f"<{tag}>{escape(str(cell))}</{tag}>" for cell in cells)
    return f"<tr>{inner}</tr>"


def _table(rows: list[str]) -> str:
    return f"<table>{''.join(rows)}</table>"
