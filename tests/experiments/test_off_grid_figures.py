"""The page on off-grid estimation shows the measured numbers."""

import json

import pytest

from tests.pages import ROOT

PAGE = (ROOT / "experiments/off_grid.md").read_text()


@pytest.fixture(scope="module")
def results():
    return json.loads((ROOT / "experiments/results/off_grid.json").read_text())


def test_the_scores_are_those_of_the_results(experiment, results):
    assert experiment("off_grid_figures").score_table(results["scores"]) in PAGE


def test_the_bounds_are_those_of_the_results(results):
    clips, clips_never = results["bound_of_four_targets"].values()
    assert f"it grows from {clips_never:.3f} to {clips:.3f} px" in PAGE
