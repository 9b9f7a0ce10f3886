"""The leaderboard of sequences is made of its results, by commands that exist."""

import json

import pytest

from distax.cli.parsing import parse
from tests.pages import ROOT, blocks

PAGE = ROOT / "docs/sequences-leaderboard.md"


@pytest.fixture(scope="module")
def leaderboard(experiment):
    return experiment("sequences_leaderboard")


@pytest.fixture(scope="module")
def results(leaderboard):
    return leaderboard.read_results()


def test_the_table_of_the_page_is_made_of_the_results(leaderboard, results):
    begin, end = "<!-- leaderboard: begin -->\n", "<!-- leaderboard: end -->\n"
    assert begin + leaderboard.table(results) + end in PAGE.read_text()


def test_the_best_measured_row_comes_first(leaderboard, results):
    rows = leaderboard.table(results).splitlines()[2:]
    measured = [row for row in rows if "| simulated |" in row]
    assert rows[: len(measured)] == measured
    assert len(measured) == len(results)
    scores = [float(row.split(" | ")[2]) for row in measured]
    assert scores == sorted(scores, reverse=True)
    assert rows[len(measured)].startswith("| DeRefNet, published | released | 51.55 | 1.0 | 14.4 |")


def test_every_method_has_a_result_of_its_options(leaderboard, results):
    assert results.keys() == leaderboard.ENTRIES.keys()
    for name, entry in leaderboard.ENTRIES.items():
        result, given = (
            results[name],
            dict(zip(entry.options[::2], entry.options[1::2], strict=False)),
        )
        assert result["checkpoint"] == given.get("--checkpoint")
        assert result["method"] == given.get("--method", result["method"])
        assert result["linked"] == ("--linked" in entry.options)
        assert (result["seed"], result["data"]) == (leaderboard.SEED, None)
        assert result["sequences"] == leaderboard.SEQUENCES
    text = PAGE.read_text()
    frames = {result["frames"]["images"] for result in results.values()}
    assert f"on {leaderboard.SEQUENCES} simulated sequences ({frames.pop()} frames)" in text
    assert not frames


def test_the_scores_in_the_text_are_those_of_the_results(results):
    first = {name: results[name]["by_frame"]["3"] for name in ("density", "dista", "cfgn")}
    density, dista = (f"{100 * first[name]:.1f}" for name in ("density", "dista"))
    assert f"in frame 3 ({density}, DISTA-Net {dista}), but the worst over all" in PAGE.read_text()
    assert max(first, key=first.get) == "density"
    assert min(first, key=lambda name: results[name]["frames"]["cso_map"]) == "density"


def test_every_command_can_be_parsed(leaderboard):
    for entry in leaderboard.ENTRIES.values():
        parsed = parse(leaderboard.command(entry))
        assert (parsed.protocol, parsed.sequences) == ("seqcsist", leaderboard.SEQUENCES)
        assert parsed.checkpoint is not None or parsed.method == "refine"


def test_every_command_of_the_page_can_be_parsed(monkeypatch):
    monkeypatch.chdir(ROOT)
    shown = "\n".join(block.text for block in blocks(PAGE.read_text())).splitlines()
    commands = [line.split()[1:] for line in shown if line.startswith("distax ")]
    assert [parse(command).__class__.__name__ for command in commands] == [
        *["Train"] * 4,
        "Evaluate",
    ]


@pytest.fixture
def copy(leaderboard, results, tmp_path, monkeypatch):
    """A leaderboard without the result of FISTA, whose scoring only keeps the titles."""
    scored = []

    def score(entry):
        scored.append(entry.title)
        return results["fista"]

    file, page = tmp_path / "results.json", tmp_path / "page.md"
    file.write_text(json.dumps({name: results[name] for name in results if name != "fista"}))
    page.write_text(PAGE.read_text())
    monkeypatch.setattr(leaderboard, "RESULTS", file)
    monkeypatch.setattr(leaderboard, "PAGE", page)
    monkeypatch.setattr(leaderboard, "score", score)
    return scored


def test_only_methods_without_a_result_are_scored(leaderboard, results, copy):
    leaderboard.main(no_score=True)
    assert copy == []
    assert "FISTA, frame by frame" not in leaderboard.PAGE.read_text()
    leaderboard.main()
    assert copy == ["FISTA, frame by frame"]
    assert leaderboard.read_results() == results
    assert leaderboard.PAGE.read_text() == PAGE.read_text()
    leaderboard.main()
    assert copy == ["FISTA, frame by frame"]


def test_named_methods_are_scored_again(leaderboard, copy):
    leaderboard.main(models=("tdan",))
    assert copy == ["TDAN, small, 600 sequences of training"]
    with pytest.raises(SystemExit, match="no method is named tdam: see ENTRIES"):
        leaderboard.main(models=("tdam",))


def test_a_page_without_a_place_for_the_table_is_left_as_it_is(leaderboard, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("text\n<!-- leaderboard: begin -->\n")
    with pytest.raises(ValueError, match=r"page\.md: no place for the table"):
        leaderboard.insert_table(page, "| a |\n")
    assert page.read_text() == "text\n<!-- leaderboard: begin -->\n"
