"""The grid models that come with distax reach the scores on their cards."""

import re
from pathlib import Path

import jax
import pytest

from distax import Sensor, Unmixer, decode, rasterize, weights
from distax.evaluation import evaluate
from distax.imaging.scenes import simulate
from distax.metrics import cso_map

SCENES = 500
CARDS = Path(weights.__file__).parent


@pytest.fixture(scope="module", params=["cfgn", "dista"])
def name(request):
    return request.param


@pytest.fixture(scope="module")
def scenes():
    return simulate(jax.random.key(20_000), SCENES)


@pytest.fixture(scope="module")
def result(name, scenes):
    model, sensor = weights.load(name)
    assert sensor == Sensor()
    return evaluate(model, *scenes, sensor)


def stated(name):
    """Reads CSO-mAP, the average precisions, PSNR and SSIM from a card's table of scores."""
    (row,) = re.findall(
        r"^\| (\d\d\.\d \|.*) \|$", (CARDS / f"{name}.md").read_text(), re.MULTILINE
    )
    return [float(cell) for cell in row.split(" | ")]


def test_scores_are_those_of_the_card(name, result):
    # Two standard errors of so few scenes.
    mean, *ap, psnr, ssim = stated(name)
    assert 100 * result.cso_map == pytest.approx(mean, abs=2.0)
    assert [100 * value for value in result.ap.values()] == pytest.approx(ap, abs=4.0)
    assert result.psnr == pytest.approx(psnr, abs=0.7)
    assert result.ssim == pytest.approx(ssim, abs=3e-3)


def test_it_passes_the_perfect_answer_with_sharp_labels(result, scenes):
    perfect = decode(rasterize(scenes[1], Sensor(), 3))
    assert result.cso_map > float(cso_map(perfect, scenes[1]).mean) + 0.02


def test_it_is_loaded_as_a_grid_method(name):
    unmixer = Unmixer.load(name)
    assert unmixer.method == "grid"
    assert unmixer.model.label_blur == 0.05
