"""The site's pages hold together, what they show runs as written, and figures are the results'."""

import importlib.util
import json
import re

import numpy as np
import pytest
from matplotlib.image import imread

import distax
from tests.pages import ROOT, blocks, links, run_page, runs

DOCS = ROOT / "docs"


def _hooks():
    spec = importlib.util.spec_from_file_location("hooks", DOCS / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hooks = _hooks()
WRITTEN = sorted(hooks.PAGES.rglob("*.md"))
RUN = [page for page in WRITTEN if any(map(runs, blocks(page.read_text())))]


def _page(name):
    return (DOCS / f"{name}.md").read_text()


def test_links_lead_to_the_same_files_on_the_site():
    page = hooks.PAGES / "how-to/new.md"
    own = "[a](../start.md#use) [b](../../experiments/off_grid.md#x) [c](https://d.e/) [f](#g)"
    assert hooks.site_text(page, own) == (
        "[a](../start.md#use) [b](../experiments/off_grid.md#x) [c](https://d.e/) [f](#g)"
    )
    assert hooks.site_text(page, "[n](none.md)") == "[n](none.md)"  # there is none


def test_a_file_is_its_code_block_s_title_and_other_labels_are_dropped():
    text = "```python a.py\nx\n```\n```sh tests\ny\n```\n```sh\nz\n```\n"
    assert hooks.site_text(hooks.PAGES / "index.md", text) == (
        '```python title="a.py"\nx\n```\n```sh\ny\n```\n```sh\nz\n```\n'
    )


def test_a_notebook_is_a_page_under_its_own_name():
    notebook = ROOT / "experiments/notebooks/train_your_own_model.ipynb"
    assert hooks.uri_of(notebook) == "experiments/notebooks/train_your_own_model.md"
    assert hooks.source_of(hooks.uri_of(notebook)) == notebook
    assert hooks.text_of(notebook).startswith("# Train your own model\n")
    link = hooks.site_text(ROOT / "experiments/off_grid.md", f"[n](notebooks/{notebook.name})")
    assert link == "[n](notebooks/train_your_own_model.md)"


def test_every_page_is_in_the_navigation_once_and_is_there():
    pages = {page for page in hooks.repository_files() if page.suffix in (".md", ".ipynb")}
    named = [hooks.source_of(uri) for uri in hooks.navigation()]
    assert len(named) > 25
    assert sorted(named) == sorted(pages | set(WRITTEN))


def test_every_public_name_of_the_package_is_in_the_reference():
    pages = "\n".join(page.read_text() for page in (hooks.PAGES / "api").glob("*.md"))
    offered = set(distax.__all__) - {"__version__"}
    modules = {distax._MODULES.get(name, name) for name in offered}
    assert not [name for name in modules if not re.search(rf"^::: distax\.{name}\b", pages, re.M)]


@pytest.mark.parametrize("uri", hooks.navigation())
def test_what_a_page_links_to_is_there(uri):
    source = hooks.source_of(uri)
    text = hooks.text_of(source)
    assert all(source.parent.joinpath(target).is_file() for target in links(text))


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A folder as a newcomer's clone: the experiments and the tests' reference, nothing else."""
    for name in ("experiments", "tests"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    # The full dataset takes half a minute to build; a smaller one stands in under its name.
    from distax.datasets.csist100k import configs

    for split, size in {"train": 64, "validation": 24, "test": 24}.items():
        monkeypatch.setattr(configs.PREDEFINED["simulated"], split, size)
    return tmp_path


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_the_code_of_a_page_runs_from_top_to_bottom(page, clone, capsys):
    run_page(page.read_text(), page.name)
    assert capsys.readouterr().out
    for figure in clone.glob("*.png"):
        if (page.parent / figure.name).is_file():
            _check_same_picture(figure, page.parent / figure.name)


def _check_same_picture(made, shown):
    """Fonts and rounding may move an edge, not more."""
    pictures = [imread(path)[..., :3] for path in (made, shown)]
    assert pictures[0].shape == pictures[1].shape
    assert np.mean(np.abs(pictures[0] - pictures[1])) < 0.01


def _results(name):
    return json.loads((ROOT / f"experiments/results/{name}.json").read_text())


def test_the_table_of_feeds_is_that_of_the_results():
    for figure in _results("feeds_cpu")["figures"]:
        name = f"{figure['name']}, {figure['images']:,} images"
        rate = figure["images"] / figure["seconds"]
        assert f"| {name} | {figure['seconds']:.3g} s | {rate:,.0f} /s |" in _page("speed")


def test_the_estimators_table_is_that_of_the_results():
    for figure in _results("estimators_cpu")["figures"]:
        scores = (figure[key] for key in ("by_score", "ap05", "by_intensity", "count_accuracy"))
        cells = " | ".join(f"{100 * score:.1f}" for score in scores)
        row = f"| {figure['name']} | {figure['images_per_second']:,.0f} | {cells} |"
        assert row in _page("speed")


def test_the_comparison_table_is_that_of_the_results():
    results, page = _results("benchmark_cpu"), _page("speed")
    libraries = "distax", "PyTorch, eager", "PyTorch, compiled"
    measured = [row for row in results["figures"] if row["seconds"]]
    rates = {(row["name"], row["images"], row["library"]): row for row in measured}
    ours = [row for row in measured if row["library"] == "distax"]
    assert len(ours) == 17
    for row in ours:
        name, images = row["name"], row["images"]
        start = f"| {name.removeprefix('DISTA-Net ')} | {images:,} | "
        found = [rates.get((name, images, library)) for library in libraries]
        cells = [f"{one['images_per_second']:,.0f}" if one else "–" for one in found]
        if name.startswith("DISTA-Net"):
            cells += [f"{row['program_bytes'] / 1e6:,.0f}"]
            assert f"{start}{' | '.join(cells)} |" in page
        else:
            assert f"{start}{cells[0]} |" in page
    made = f"PyTorch {results['torch']}, JAX {results['jax']}, {results['date']}"
    assert made in page


def test_the_scores_of_variants_are_those_of_the_results():
    results = _results("variants")
    score = {row["name"]: f"{100 * row['cso_map']:.1f}" for row in results["figures"]}
    command = f"`python experiments/variants.py --steps {results['steps']}`"
    assert (
        f"the quickstart's model on whole images after {results['steps']} steps, on "
        f"{results['images']:,} held-out images ({command}, figures in "
        f"`experiments/results/variants.json`) has CSO-mAP "
        f"{score['float32, whole image']}; its weights with bfloat16 maps "
        f"{score['… the same weights, bfloat16 maps']}; trained with bfloat16 maps "
        f"{score['bfloat16 maps']}; with the window {score['window of 7 pixels']}, in half the time"
    ) in _page("speed")
    seconds = {row["name"]: row["training_seconds"] for row in results["figures"]}
    assert 0.4 < seconds["window of 7 pixels"] / seconds["float32, whole image"] < 0.6


def test_what_a_measured_psf_is_worth_is_that_of_the_results():
    results = _results("measured_psf")
    error = {name: row["median_error"] for name, row in results["figures"].items()}
    measured, true = error["measured, 50 sources"], error["the true PSF"]
    assert (
        f"with a median error of {true:.4f} px under the true PSF, {measured:.4f} px under the PSF "
        f"measured from 50 sources, and {error['a Gaussian, 50 sources']:.3f} px under the best "
        "Gaussian"
    ) in _page("how-to/calibrate")


def test_the_table_of_a_varying_psf_is_that_of_the_results():
    page = _page("how-to/calibrate")
    for name, row in _results("varying_psf")["figures"].items():
        assert (
            f"| {name} | {100 * row['width_worst']:.1f} | {row['position_rmse']:.4f} | "
            f"{100 * row['flux_rmse']:.1f} | "
            f"{100 * row['wrong_counts']:.1f} | {row['position_pull']:.2f} | "
            f"{row['flux_pull']:.2f} |"
        ) in page
