"""A table of targets that `page.js` sorts and filters, and that can be read without."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distax.viz.report.text import escaped


@dataclass(frozen=True)
class Column:
    """How a column is shown.

    Attributes:
      head: its title.
      format: of its numbers; text is shown as it is.
    """

    head: str
    format: str = ""


def html_table(
    caption: str, columns: Mapping[str, Column], rows: Sequence[Mapping[str, Any]]
) -> str:
    """The table, without the columns of which no row knows anything.

    Each number stands in its cell with all its digits as well, for sorting.
    """
    known = {
        name: column
        for name, column in columns.items()
        if any(row.get(name) not in (None, "") for row in rows)
    }
    heads = "".join(f'<th scope="col">{escaped(column.head)}</th>' for column in known.values())
    lines = (
        "".join(_cell(row.get(name), column) for name, column in known.items()) for row in rows
    )
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return (
        f'<div class="wide" role="region" aria-label="{escaped(caption)}" tabindex="0">'
        f'<table class="targets"><caption>{escaped(caption)}</caption>\n'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )


def _cell(value: Any, column: Column) -> str:
    if value is None:
        return "<td></td>"
    if isinstance(value, str):
        return f'<td class="text">{escaped(value)}</td>'
    return f'<td data-value="{float(value)!r}">{value:{column.format}}</td>'
