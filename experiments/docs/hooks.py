"""Puts the repository's own text on the site, so that nothing is written twice.

- `<!-- section: README.md Train -->` on a page becomes what README.md says under that heading,
  down to the next heading.
- Every file of the repository that the navigation names or a page links to is on the site under
  its path in the repository; notebooks become pages.
- Links are written as they work in the repository and lead to the same file on the site; one to a
  section that a page includes leads to that page.

MkDocs calls the functions named `on_…`; the others need nothing but Python.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import File, Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
PAGES = Path(__file__).parent / "pages"

_FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_INCLUDE = re.compile(r"^<!-- section: (\S+) (.+) -->$", re.MULTILINE)
_LINK = re.compile(r"\]\(([^)#:\s]+)(#[^)\s]*)?\)")
_LABEL = re.compile(r"^```(\w+) ([\w.]+)$", re.MULTILINE)


def sections(text: str) -> dict[str, str]:
    """What a page says under each of its headings, down to the next, by heading."""
    code = [block.span() for block in _FENCED.finditer(text)]
    headings = [
        heading
        for heading in _HEADING.finditer(text)
        if not any(start < heading.start() < end for start, end in code)
    ]
    ends = [heading.start() for heading in headings[1:]] + [len(text)]
    return {
        heading[1]: text[heading.end() : end].strip()
        for heading, end in zip(headings, ends, strict=True)
    }


def included(text: str) -> list[tuple[str, str]]:
    """The file and the heading of every section that a page includes."""
    return _INCLUDE.findall(text)


def linked_files(source: Path, text: str) -> set[Path]:
    """The files of the repository that a page links to, those of the sections it includes too."""
    targets = {_target(source, link)[0] for link in _LINK.finditer(text)}
    for file, heading in included(text):
        targets |= linked_files(ROOT / file, _section(file, heading))
    return {target for target in targets if target.is_file()}


def navigation() -> list[str]:
    """The pages that mkdocs.yml names, by their path on the site."""
    config = yaml.safe_load((Path(__file__).parent / "mkdocs.yml").read_text(encoding="utf-8"))
    return list(_leaves(config["nav"]))


def source_of(uri: str) -> Path:
    """The file behind a path on the site: a page written for it, or a file of the repository."""
    candidates = [PAGES / uri, ROOT / uri, (ROOT / uri).with_suffix(".ipynb")]
    return next((path for path in candidates if path.is_file()), candidates[0])


def uri_of(source: Path) -> str:
    """The path of a file on the site; `source_of` reverses it."""
    base = PAGES if source.is_relative_to(PAGES) else ROOT
    path = source.relative_to(base)
    return (path.with_suffix(".md") if path.suffix == ".ipynb" else path).as_posix()


def text_of(source: Path) -> str:
    """What a page says in Markdown, or a notebook in its cells of Markdown."""
    text = source.read_text(encoding="utf-8")
    if source.suffix != ".ipynb":
        return text
    cells = (cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown")
    return "\n\n".join("".join(cell["source"]) for cell in cells)


def repository_files() -> set[Path]:
    """The files of the repository that are to be on the site beside its own pages."""
    waiting = {source_of(uri) for uri in navigation()} | set(PAGES.rglob("*.md"))
    found: set[Path] = set()
    while waiting:
        source = waiting.pop()
        found.add(source)
        if source.suffix in (".md", ".ipynb"):
            waiting |= linked_files(source, text_of(source)) - found
    return {source for source in found if not source.is_relative_to(PAGES)}


def expanded(source: Path, text: str) -> str:
    """A page's text with the sections it includes, its links as they are on the site."""

    def section(match: re.Match[str]) -> str:
        file, heading = match.groups()
        return _relinked(ROOT / file, source, _section(file, heading))

    # Its own links first: those of the sections start elsewhere.
    return _LABEL.sub(_titled, _INCLUDE.sub(section, _relinked(source, source, text)))


def on_files(files: "Files", config: "MkDocsConfig") -> "Files":
    """Add the repository's files."""
    for source in sorted(repository_files()):
        for file in _site_files(source, config):
            files.append(file)
    return files


def on_page_markdown(markdown: str, page: "Page", **_: Any) -> str:
    """Include sections and set links right."""
    return expanded(source_of(page.file.src_uri), markdown)


def _site_files(source: Path, config: "MkDocsConfig") -> "Iterator[File]":
    """What a file of the repository is on the site: itself, or a notebook's page and pictures."""
    from mkdocs.structure.files import File

    uri = uri_of(source)
    if source.suffix != ".ipynb":
        yield File.generated(config, uri, abs_src_path=str(source))
        return
    from nbconvert import MarkdownExporter

    names = {"unique_key": source.stem, "output_files_dir": source.stem}
    text, resources = MarkdownExporter().from_filename(str(source), resources=names)
    yield File.generated(config, uri, content=text)
    for name, content in resources["outputs"].items():
        yield File.generated(config, f"{os.path.dirname(uri)}/{name}", content=content)


def _section(file: str, heading: str) -> str:
    found = sections(text_of(ROOT / file))
    if heading not in found:
        raise ValueError(f"{file}: no heading {heading!r}; there are {', '.join(found)}")
    return found[heading]


def _relinked(source: Path, page: Path, text: str) -> str:
    """Text from one file as another holds it: relative links lead where they led."""
    folder = os.path.dirname(uri_of(page)) or "."

    def link(match: re.Match[str]) -> str:
        target, place = _target(source, match)
        if not target.is_file():
            return match[0]
        return f"]({os.path.relpath(uri_of(target), folder)}{place})"

    return _LINK.sub(link, text)


def _target(source: Path, link: re.Match[str]) -> tuple[Path, str]:
    """The file that a link leads to on the site, and the place in it."""
    target, place = Path(os.path.normpath(source.parent / link[1])), link[2] or ""
    if place:
        for page in PAGES.rglob("*.md"):
            for file, heading in included(text_of(page)):
                if ROOT / file == target and _place(heading) == place:
                    return page, ""
    return target, place


def _place(heading: str) -> str:
    """What a link says behind a file's name to lead to a heading in it."""
    return "#" + re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def _titled(fence: re.Match[str]) -> str:
    """A fence whose label is a file's name has it as its title; other labels are for tests."""
    language, label = fence.groups()
    return f'```{language} title="{label}"' if "." in label else f"```{language}"


def _leaves(tree: Any) -> Iterator[str]:
    if isinstance(tree, str):
        yield tree
        return
    for branch in tree.values() if isinstance(tree, dict) else tree:
        yield from _leaves(branch)
