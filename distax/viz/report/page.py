"""The page of a report: a summary, and a section a file."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from string import Template
from typing import Any

from distax.viz.report.pictures import Picture
from distax.viz.report.table import Column, html_table
from distax.viz.report.text import escaped

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:;
 style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>$title</title>
<style>
$style</style>
</head>
<body>
<main>
<h1>$title</h1>
$facts
$sections
</main>
<script>
$script</script>
</body>
</html>
""")


@dataclass(frozen=True)
class Section:
    """What is reported of a file.

    Attributes:
      title: its name.
      facts: what is known of it as a whole.
      pictures: of its images.
      columns: of its table of targets, by the names that `rows` use.
      rows: a target each.
    """

    title: str
    facts: Mapping[str, str]
    pictures: Sequence[Picture]
    columns: Mapping[str, Column]
    rows: Sequence[Mapping[str, Any]]


def page(title: str, facts: Mapping[str, str], sections: Sequence[Section]) -> str:
    """An HTML page that loads nothing from elsewhere; all text in it is escaped."""
    return _PAGE.substitute(
        title=escaped(title),
        style=_resource("page.css"),
        script=_resource("page.js"),
        facts=_facts(facts),
        sections="\n".join(_section(number, one) for number, one in enumerate(sections)),
    )


def _resource(name: str) -> str:
    return files("distax.viz.report").joinpath(name).read_text(encoding="utf-8")


def _facts(facts: Mapping[str, str]) -> str:
    pairs = "\n".join(
        f"<dt>{escaped(name)}</dt><dd>{escaped(value)}</dd>" for name, value in facts.items()
    )
    return f"<dl>\n{pairs}\n</dl>"


def _section(number: int, section: Section) -> str:
    table = html_table("Targets", section.columns, section.rows)
    parts = [
        f'<section aria-labelledby="file-{number}">',
        f'<h2 id="file-{number}">{escaped(section.title)}</h2>',
        _facts(section.facts),
        *map(_figure, section.pictures),
        table if section.rows else "<p>No target.</p>",
        "</section>",
    ]
    return "\n".join(parts)


def _figure(picture: Picture) -> str:
    data = base64.b64encode(picture.png).decode()
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{escaped(picture.alternative)}">\n'
        f"<figcaption>{escaped(picture.caption)}</figcaption></figure>"
    )
