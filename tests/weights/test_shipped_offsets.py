"""The grid models with a head that come with distax reach the scores on their cards."""

import re
from pathlib import Path

import jax
import pytest

from distax import Sensor, Unmixer, weights
from distax.evaluation import evaluate
from distax.imaging.scenes import simulate

SCENES = 500
CARDS = Path(weights.__file__).parent


@pytest.fixture(scope="module", params=["cfgn_offset", "dista_offset"])
def name(request):
    return request.param


@pytest.fixture(scope="module")
def result(name):
    model, sensor = weights.load(name)
    assert sensor == Sensor()
    return evaluate(model, *simulate(jax.random.key(20_000), SCENES), sensor)


def stated(name, ranked_by):
    """Reads CSO-mAP and the average precisions from a card's table of scores."""
    (row,) = re.findall(
        rf"^\| {ranked_by} \| (.*) \|$", (CARDS / f"{name}.md").read_text(), re.MULTILINE
    )
    return [float(cell) for cell in row.split(" | ")]


def test_scores_are_those_of_the_card(name, result):
    # Two standard errors of so few scenes.
    for ranked_by, mean, ap in (
        ("its own score", result.cso_map_by_score, result.ap_by_score),
        ("intensity", result.cso_map, result.ap),
    ):
        expected = stated(name, ranked_by)
        assert 100 * mean == pytest.approx(expected[0], abs=2.0)
        assert [100 * value for value in ap.values()] == pytest.approx(expected[1:], abs=4.0)
    assert result.count_accuracy > 0.99


def test_regions_hold_about_their_share(result):
    assert list(result.coverage.values()) == pytest.approx([0.5, 0.9, 0.95], abs=0.15)


def test_it_is_loaded_as_a_method_in_one_pass(name):
    unmixer = Unmixer.load(name)
    assert unmixer.method == "fast"
    images, truth = simulate(jax.random.key(7), 4)
    assert (unmixer(images).count == truth.count).all()
