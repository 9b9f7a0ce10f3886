"""The site's pages hold together, and what they show runs as written."""

import importlib.util
import re

import numpy as np
import pytest
from matplotlib.image import imread

import distax
from tests.pages import ROOT, blocks, links, run_line

DOCS = ROOT / "experiments/docs"


def _hooks():
    spec = importlib.util.spec_from_file_location("hooks", DOCS / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hooks = _hooks()
WRITTEN = sorted(hooks.PAGES.rglob("*.md"))
RUN = [page for page in WRITTEN if blocks(page.read_text())]


def test_the_text_under_a_heading_ends_at_the_next_one_outside_of_code():
    page = "# A\n\none\n\n```python\n# no heading\n```\n\n### B c\n## D\ntwo\n"
    assert hooks.sections(page) == {
        "A": "one\n\n```python\n# no heading\n```",
        "B c": "",
        "D": "two",
    }


def test_a_page_includes_sections_with_links_that_lead_to_the_same_files():
    page = hooks.PAGES / "how-to/new.md"
    section = hooks.expanded(page, "<!-- section: README.md Train -->")
    assert section.startswith("On scenes simulated on the device without end")
    assert "[experiments/cluster](../experiments/cluster/README.md)" in section
    own = "[a](../start.md#use) [b](../../../off_grid.md#x) [c](https://d.e/) [f](#g)"
    assert hooks.expanded(page, own) == (
        "[a](../start.md#use) [b](../experiments/off_grid.md#x) [c](https://d.e/) [f](#g)"
    )
    assert hooks.expanded(page, "[n](none.md)") == "[n](none.md)"  # there is none


def test_a_link_to_a_section_leads_to_the_page_that_includes_it():
    page = hooks.PAGES / "how-to/new.md"
    links = "[a](../../../../README.md#past-the-grids-ceiling-on-the-grid) [b](start.md#train)"
    assert hooks.expanded(page, links) == "[a](../leaderboard.md) [b](start.md#train)"
    assert hooks.linked_files(page, links) == {hooks.PAGES / "leaderboard.md"}


def test_a_section_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(ValueError, match=r"README.md: no heading 'Trian'; there are .*Train"):
        hooks.expanded(hooks.PAGES / "index.md", "<!-- section: README.md Trian -->")


def test_a_file_is_its_code_block_s_title_and_other_labels_are_dropped():
    text = "```python a.py\nx\n```\n```sh tests\ny\n```\n```sh\nz\n```\n"
    assert hooks.expanded(hooks.PAGES / "index.md", text) == (
        '```python title="a.py"\nx\n```\n```sh\ny\n```\n```sh\nz\n```\n'
    )


def test_a_notebook_is_a_page_under_its_own_name():
    notebook = ROOT / "experiments/notebooks/train_your_own_model.ipynb"
    assert hooks.uri_of(notebook) == "experiments/notebooks/train_your_own_model.md"
    assert hooks.source_of(hooks.uri_of(notebook)) == notebook
    assert hooks.text_of(notebook).startswith("# Train your own model\n")
    link = hooks.expanded(ROOT / "experiments/off_grid.md", f"[n](notebooks/{notebook.name})")
    assert link == "[n](notebooks/train_your_own_model.md)"


def test_every_page_is_in_the_navigation_once_and_is_there():
    pages = {page for page in hooks.repository_files() if page.suffix in (".md", ".ipynb")}
    named = [hooks.source_of(uri) for uri in hooks.navigation()]
    assert len(named) > 25
    assert sorted(named) == sorted(pages | set(WRITTEN))


def test_every_public_name_of_the_package_is_in_the_reference():
    pages = "\n".join(page.read_text() for page in (hooks.PAGES / "api").glob("*.md"))
    modules = {distax._MODULES.get(name, name) for name in distax.__all__}
    assert not [name for name in modules if not re.search(rf"^::: distax\.{name}\b", pages, re.M)]


def test_every_section_of_the_readme_is_on_the_site_once():
    included = [entry for page in WRITTEN for entry in hooks.included(page.read_text())]
    headings = hooks.sections((ROOT / "README.md").read_text())
    assert sorted(included) == sorted(("README.md", heading) for heading in headings)


@pytest.mark.parametrize("uri", hooks.navigation())
def test_what_a_page_links_to_is_there(uri):
    source = hooks.source_of(uri)
    text = hooks.text_of(source)
    assert all(source.parent.joinpath(target).is_file() for target in links(text))


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_the_code_of_a_page_runs_from_top_to_bottom(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    for block in blocks(page.read_text()):
        if block.language == "sh":
            for line in block.text.splitlines():
                assert line.startswith("distax ")
                run_line(line, {})
        else:
            assert block.language == "python"
            exec(compile(block.text, page.name, "exec"), names)
    assert capsys.readouterr().out
    for figure in tmp_path.glob("*.png"):
        _check_same_picture(figure, page.parent / figure.name)


def _check_same_picture(made, shown):
    """Fonts and rounding may move an edge, not more."""
    pictures = [imread(path)[..., :3] for path in (made, shown)]
    assert pictures[0].shape == pictures[1].shape
    assert np.mean(np.abs(pictures[0] - pictures[1])) < 0.01
