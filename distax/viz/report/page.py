"""The HTML page of a report: a summary, and a section for each file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distax.runtime.optional import require
from distax.viz.report.pictures import Picture


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
      pictures: pictures of the file's images.
      columns: columns of the table of targets, by key of `rows`.
      rows: values of each target; a missing value is None, an empty text or no key.
    """

    title: str
    facts: Mapping[str, str]
    pictures: Sequence[Picture]
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


def page(title: str, facts: Mapping[str, str], sections: Sequence[Section]) -> str:
    """Renders a self-contained HTML page; all text is escaped.

    Args:
      title: the page's title.
      facts: values by name, for the page's summary.
      sections: the reports on the files.
    """
    require("jinja2", "reports")
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("distax.viz.report", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["format_number"] = format
    template = environment.get_template("page.html")
    text = template.render(title=title, facts=facts, sections=sections)
    # File names may hold bytes that are not UTF-8; these are written as escape sequences.
    return text.encode("utf-8", "backslashreplace").decode()
