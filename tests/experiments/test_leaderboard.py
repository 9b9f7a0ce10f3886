"""The leaderboard lists every model, and its pages are those of its results."""

import json
from pathlib import Path

import pytest

from distax import weights
from distax.models import names
from distax.models.registry import constructor_parameters
from distax.training.config import read_toml
from tests.models.sizes import SEQUENCES

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def leaderboard(experiment):
    return experiment("leaderboard")


@pytest.fixture(scope="module")
def plan(leaderboard):
    return leaderboard.read_plan()


def test_every_grid_model_is_listed(plan):
    assert {entry.model for entry in plan[1]} == set(names()) - {"density", *SEQUENCES}


def test_every_run_can_be_made(plan, leaderboard):
    protocol, entries = plan
    for entry in entries:
        config = leaderboard.make_config(entry, protocol)
        known = constructor_parameters(entry.model).keys() | {"window", "label_blur"}
        assert config.model.options.keys() <= known
        # Finer grids and shipped weights have smaller windows and blurred labels.
        usual = entry.factor == 3 and not entry.weights
        assert usual == (config.model.options["window"] == protocol.window)
        assert usual == ("label_blur" not in config.model.options)
        assert config.model.factor == entry.factor
        assert config.steps * config.batch_size >= (entry.images or protocol.images)


def test_every_model_has_a_result_of_its_plan(plan, leaderboard):
    protocol, entries = plan
    assert {file.stem for file in leaderboard.RESULTS.glob("*.json")} == {
        entry.name for entry in entries
    }
    for entry in entries:
        result = json.loads((leaderboard.RESULTS / f"{entry.name}.json").read_text())
        assert result["model"] == entry.model
        assert result["options"] == entry.options
        assert result["learning_rate"] == entry.learning_rate
        assert result.get("clip_norm") == entry.clip_norm
        assert result.get("threshold", 50.0) == entry.threshold
        assert result["window"] == entry.options.get("window", protocol.window)
        if entry.images:
            assert entry.images <= result["images"] < entry.images + protocol.batch_size
        assert result["test_images"] == result["evaluation"]["images"] == protocol.test_images
        assert 0 < result["evaluation"]["cso_map"] < 1


@pytest.fixture(scope="module")
def results(plan, leaderboard):
    return leaderboard.read_results(plan[1])


def test_a_score_below_the_published_one_has_a_reason(results, leaderboard):
    from leaderboard_page import TOLERANCE, below_published

    for result in results:
        assert (below_published(result) > TOLERANCE) == (result["shortfall"] is not None), result[
            "name"
        ]


def test_the_table_is_made_of_the_results(results):
    from leaderboard_page import table

    assert table(results) in (ROOT / "docs/leaderboard.md").read_text()


def test_costs_are_of_one_machine(results):
    about = [result["cost_about"] for result in results if "images_per_second" in result]
    assert len({json.dumps(each | {"date": ""}) for each in about}) == 1
    assert len(about) == len(results)


def test_the_limits_of_the_grid_are_measured(leaderboard):
    limits = json.loads(leaderboard.LIMITS.read_text())
    sharp, blurred, off_grid = limits.values()
    assert 0.465 < sharp < 0.48 < 0.54 < blurred < 0.57 < 0.92 < off_grid < 0.95


def test_shipped_weights_are_those_of_their_experiments(plan, leaderboard):
    protocol, entries = plan
    for entry in entries:
        if entry.weights:
            trained = read_toml(ROOT / f"experiments/{entry.weights}.toml")
            _, config = weights.read(
                Path(weights.__file__).with_name(f"{entry.weights}.safetensors")
            )
            assert config == trained
            planned = leaderboard.make_config(entry, protocol)
            assert (planned.model, planned.steps, planned.batch_size) == (
                trained.model,
                trained.steps,
                trained.batch_size,
            )
