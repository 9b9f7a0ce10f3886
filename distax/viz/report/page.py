"""The HTML page of a report: a summary, and a section for each file."""

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from distax.runtime.optional import require
from distax.viz.ellipses import REGION
from distax.viz.figures import MAX_DEVIATION
from distax.viz.report.png import DIVERGING, GREY
from distax.viz.report.view import View

ROWS = 100
"""Rows on a page of a table. More take longer to lay out. Without a script, only these are seen."""
_SCRIPTS = ("plot.js", "overview.js", "closeups.js", "table.js", "page.js")
_DIGITS = 9
"""Significant digits of numbers in tables. They resolve 1e-5 px in frames of up to 10,000 px."""
_EXACT = 2**53
"""JavaScript represents whole numbers below this one exactly."""


@dataclass(frozen=True)
class Column:
    """A column of a table of targets.

    Attributes:
      head: the column's title.
      format: format specification of its numbers; text is shown as it is.
    """

    head: str
    format: str = ""


@dataclass(frozen=True)
class Section:
    """The report on one file.

    Attributes:
      title: the file's name.
      facts: values by name, for the file as a whole.
      views: views of the file's frames and images, each with the rows of its targets.
      columns: columns of the table of targets, by key of `rows`.
      rows: values of each target; a missing value is None, an empty text or no key.
    """

    title: str
    facts: Mapping[str, str]
    views: Sequence[View]
    columns: Mapping[str, Column]
    rows: Sequence[Mapping[str, Any]]

    @property
    def known_columns(self) -> dict[str, Column]:
        """Columns with a value in at least one row."""
        return {
            name: column
            for name, column in self.columns.items()
            if any(row.get(name) not in (None, "") for row in self.rows)
        }

    @property
    def content(self) -> dict[str, Any]:
        """Everything that the script needs, as plain JSON values; a column is one list."""
        known = self.known_columns
        return {
            "columns": [[name, column.format] for name, column in known.items()],
            "values": {name: [_plain(row.get(name)) for row in self.rows] for name in known},
            "views": [view.content for view in self.views],
            "count": len(self.rows),
            "page": ROWS,
            "deviation": MAX_DEVIATION,
            "greys": GREY,
            "hues": DIVERGING,
        }


def _plain(value: Any) -> Any:
    """Returns a value for JSON, which has neither infinite numbers nor NaN."""
    if value is None or isinstance(value, str):
        return value
    number = float(value)
    if not math.isfinite(number):
        return None
    short = float(f"{number:.{_DIGITS}g}")
    return int(short) if short.is_integer() and abs(short) < _EXACT else short


def page(title: str, facts: Mapping[str, str], sections: Sequence[Section]) -> str:
    """Renders a self-contained HTML page; all text is escaped, and the network is forbidden.

    The page's policy (Content-Security-Policy) names its own script and style by their hashes, so
    that nothing else runs.

    Args:
      title: the page's title.
      facts: values by name, for the page's summary.
      sections: the reports on the files.
    """
    require("jinja2", "reports")
    from jinja2 import Environment, PackageLoader
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("distax.viz.report", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["format_number"] = format
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    script, style = "\n".join(map(_read, _SCRIPTS)), _read("page.css")
    text = environment.get_template("page.html").render(
        title=title,
        facts=facts,
        sections=sections,
        first=ROWS,
        region=f"{REGION:.0%}",
        script=Markup(script),
        style=Markup(style),
        script_hash=_hash(script),
        style_hash=_hash(style),
    )
    # File names may hold bytes that are not UTF-8; these are written as escape sequences.
    return text.encode("utf-8", "backslashreplace").decode()


def _read(name: str) -> str:
    """Reads a file of this package."""
    return files("distax.viz.report").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """Returns the hash by which a Content-Security-Policy allows a script or a style."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
