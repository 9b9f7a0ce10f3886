"""Hooks of MkDocs that put files of the repository on the site beside the pages in `docs/`.

- Every file of the repository that the navigation names or a page links to is on the site under
  its path in the repository; notebooks become pages.
- Links are written as they work in the repository and lead to the same file on the site.
- A code block whose label is a file's name has it as its title; other labels are for tests.

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

PAGES = Path(__file__).parent
ROOT = PAGES.parent

_LINK = re.compile(r"\]\(([^)#:\s]+)(#[^)\s]*)?\)")
_LABEL = re.compile(r"^```(\w+) ([\w.]+)$", re.MULTILINE)


def navigation() -> list[str]:
    """Returns the pages that mkdocs.yml names, by their path on the site."""
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    return list(_leaves(config["nav"]))


def source_of(uri: str) -> Path:
    """Returns the file behind a path on the site: a page of `docs/` or a file of the repository."""
    candidates = [PAGES / uri, ROOT / uri, (ROOT / uri).with_suffix(".ipynb")]
    return next((path for path in candidates if path.is_file()), candidates[0])


def uri_of(source: Path) -> str:
    """Returns the path of a file on the site; `source_of` reverses it."""
    base = PAGES if source.is_relative_to(PAGES) else ROOT
    path = source.relative_to(base)
    return (path.with_suffix(".md") if path.suffix == ".ipynb" else path).as_posix()


def text_of(source: Path) -> str:
    """Returns a page's Markdown; of a notebook, the Markdown cells."""
    text = source.read_text(encoding="utf-8")
    if source.suffix != ".ipynb":
        return text
    cells = (cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown")
    return "\n\n".join("".join(cell["source"]) for cell in cells)


def linked_files(source: Path, text: str) -> set[Path]:
    """Returns the files of the repository that a page links to."""
    targets = {_target(source, link) for link in _LINK.finditer(text)}
    return {target for target in targets if target.is_file()}


def repository_files() -> set[Path]:
    """Returns the files of the repository that are on the site beside the pages of `docs/`."""
    waiting = {source_of(uri) for uri in navigation()} | set(PAGES.rglob("*.md"))
    found: set[Path] = set()
    while waiting:
        source = waiting.pop()
        found.add(source)
        if source.suffix in (".md", ".ipynb"):
            waiting |= linked_files(source, text_of(source)) - found
    return {source for source in found if not source.is_relative_to(PAGES)}


def site_text(source: Path, text: str) -> str:
    """Returns a page's text with links and code titles as the site needs them."""
    folder = os.path.dirname(uri_of(source)) or "."

    def link(match: re.Match[str]) -> str:
        target = _target(source, match)
        if not target.is_file():
            return match[0]
        return f"]({os.path.relpath(uri_of(target), folder)}{match[2] or ''})"

    return _LABEL.sub(_title, _LINK.sub(link, text))


def on_files(files: "Files", config: "MkDocsConfig") -> "Files":
    """Adds the repository's files to the site."""
    for source in sorted(repository_files()):
        for file in _site_files(source, config):
            files.append(file)
    return files


def on_page_markdown(markdown: str, page: "Page", **_: Any) -> str:
    """Adapts a page's links and code titles."""
    return site_text(source_of(page.file.src_uri), markdown)


def _site_files(source: Path, config: "MkDocsConfig") -> "Iterator[File]":
    """Yields a repository file for the site; a notebook becomes a page and its pictures."""
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


def _target(source: Path, link: re.Match[str]) -> Path:
    """Returns the file that a link leads to."""
    return Path(os.path.normpath(source.parent / link[1]))


def _title(fence: re.Match[str]) -> str:
    language, label = fence.groups()
    return f'```{language} title="{label}"' if "." in label else f"```{language}"


def _leaves(tree: Any) -> Iterator[str]:
    if isinstance(tree, str):
        yield tree
        return
    for branch in tree.values() if isinstance(tree, dict) else tree:
        yield from _leaves(branch)
