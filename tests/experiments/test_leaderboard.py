"""The leaderboard lists every model, and its pages are those of its results."""

import json
from pathlib import Path

import pytest

from distax.models import names
from distax.models.registry import arguments

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def leaderboard(experiment):
    return experiment("leaderboard")


@pytest.fixture(scope="module")
def plan(leaderboard):
    return leaderboard.read_plan()


def test_every_grid_model_is_listed(plan):
    assert {entry.model for entry in plan[1]} == set(names()) - {"density"}


def test_every_run_can_be_made(plan, leaderboard):
    protocol, entries = plan
    for entry in entries:
        config = leaderboard.config_of(entry, protocol)
        assert config.model.options.keys() - {"window"} <= arguments(entry.model).keys()
        assert config.model.options["window"] == protocol.window
        assert config.model.factor == entry.factor
        assert config.steps * config.batch_size >= (entry.images or protocol.images)


def test_results_are_of_what_the_plan_says(plan, leaderboard):
    protocol, entries = plan
    by_name = {entry.name: entry for entry in entries}
    files = sorted(leaderboard.RESULTS.glob("*.json"))
    assert files
    for file in files:
        result, entry = json.loads(file.read_text()), by_name[file.stem]
        assert result["model"] == entry.model
        assert result["options"] == entry.options
        assert result["learning_rate"] == entry.learning_rate
        assert result["window"] == protocol.window
        assert result["test_images"] == result["evaluation"]["images"] == protocol.test_images
        assert 0 < result["evaluation"]["cso_map"] < 1


def test_the_table_is_made_of_the_results(plan, leaderboard):
    from leaderboard_page import table

    files = [leaderboard.RESULTS / f"{entry.name}.json" for entry in plan[1]]
    results = [json.loads(file.read_text()) for file in files if file.exists()]
    assert table(results) in (ROOT / "README.md").read_text()
