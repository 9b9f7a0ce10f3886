"""The README is short, its snippets run as written, and its table is that of the results."""

import json

import pytest

from tests.pages import ROOT, blocks, links, run_page

README = (ROOT / "README.md").read_text()
WORDS = 700


def test_it_can_be_read_in_three_minutes():
    assert len(README.split()) <= WORDS


def test_the_setup_commands_are_there_and_quickstart_is_one_of_them():
    labels = {block.label: block.text for block in blocks(README) if block.label}
    assert labels.keys() == {"quickstart", "tests"}
    assert labels["quickstart"].rstrip().endswith(".venv/bin/distax quickstart")
    assert all(len(text.splitlines()) == 1 for text in labels.values())
    assert ".[all]" in labels["quickstart"]
    assert ".[all,test]" in labels["tests"]


def test_the_snippets_run_as_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run_page(README, "README.md")
    assert "CSO-mAP" in capsys.readouterr().out
    assert (tmp_path / "targets.csv").read_text().startswith("file,image,row,column")
    assert (tmp_path / "targets.png").is_file()


def _row(method: str) -> list[str]:
    """The cells of a method's row behind its description."""
    (line,) = (line for line in README.splitlines() if line.startswith(f"| `{method}` |"))
    return [cell.strip() for cell in line.strip("|").split("|")][2:]


@pytest.mark.parametrize("method", ["fast", "refine", "posterior"])
def test_the_methods_are_those_of_the_results(method):
    results = json.loads((ROOT / "experiments/results/estimators_cpu.json").read_text())
    (figure,) = (figure for figure in results["figures"] if figure["name"] == method)
    scores = [f"{100 * figure[key]:.1f}" for key in ("by_score", "ap05", "count_accuracy")]
    assert _row(method) == [*scores, f"{figure['images_per_second']:,.0f}"]


def test_the_grid_is_that_of_the_leaderboard_and_its_card():
    result = json.loads((ROOT / "experiments/results/leaderboard/dista_shipped.json").read_text())
    evaluation = result["evaluation"]
    card = (ROOT / "distax/weights/dista.md").read_text()
    score, nearest, count, rate = _row("grid")
    assert score == f"{100 * evaluation['cso_map']:.1f}"
    assert nearest == f"{100 * evaluation['ap']['0.05']:.1f}"
    assert rate == f"{result['images_per_second']:,.0f}"
    assert f"{count}% of the images" in " ".join(card.split())


def test_what_it_links_to_is_there():
    targets = links(README)
    assert len(targets) > 20
    assert all((ROOT / target).is_file() for target in targets)
