from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from distax import DistaxError, Sensor, decode, rasterize
from distax.evaluation import evaluate
from distax.metrics import LocalizationSums, cso_map, psnr, ssim
from distax.models import GridModel
from distax.models.base import Constant
from distax.scenes import PlacementLaw, simulate


class Remembers(GridModel):
    """Answers each image with a grid it was given, told apart by the image's sum."""

    def __init__(self, images, grids):
        self.sums, self.grids = Constant(jnp.sum(images, axis=(1, 2))), Constant(grids)

    def __call__(self, images):
        sums = jnp.sum(images, axis=(1, 2))
        return self.grids[...][jnp.argmin(jnp.abs(self.sums[...] - sums[:, None]), axis=1)]


@pytest.fixture(scope="module")
def noisy():
    """Scenes told apart by their sums, and a model whose grids are the truth with noise."""
    images, truth = simulate(jax.random.key(0), 30, Sensor(bit_depth=None), PlacementLaw())
    grids = rasterize(truth, Sensor(), 3)
    grids += 40 * jax.random.normal(jax.random.key(1), grids.shape)
    return Remembers(images, grids), grids, images, truth


def test_results_are_those_of_the_metrics_over_all_images(noisy):
    model, grids, images, truth = noisy
    # 30 images in batches of 8: the last batch is padded.
    result = evaluate(model, images, truth, batch_size=8)
    found, labels = decode(grids), rasterize(truth, Sensor(), 3)
    exact = cso_map(found, truth)
    assert result.images == 30
    assert result.cso_map == pytest.approx(float(exact.mean), abs=1e-4)
    np.testing.assert_allclose(list(result.ap.values()), exact.ap, atol=1e-3)
    assert list(result.ap) == ["0.05", "0.10", "0.15", "0.20", "0.25"]
    assert result.psnr == pytest.approx(float(jnp.mean(psnr(grids, labels))), rel=1e-5)
    assert result.ssim == pytest.approx(float(jnp.mean(ssim(grids, labels))), rel=1e-5)
    localization = LocalizationSums.of(found, truth)
    assert result.count_accuracy == pytest.approx(float(localization.count_accuracy))
    assert result.rmse == pytest.approx(float(localization.rmse), rel=1e-5)
    assert 0.0 < result.cso_map < 1.0


def test_the_batch_size_changes_nothing(noisy):
    model, _, images, truth = noisy
    first, second = (evaluate(model, images, truth, batch_size=size) for size in (7, 30))
    rounded = {"psnr": 0.0, "ssim": 0.0, "rmse": 0.0}
    assert replace(first, **rounded) == replace(second, **rounded)
    assert first.psnr == pytest.approx(second.psnr, rel=1e-6)
    assert first.rmse == pytest.approx(second.rmse, rel=1e-6)


def test_the_threshold_is_used(noisy):
    model, _, images, truth = noisy
    assert evaluate(model, images, truth, threshold=1e4, batch_size=8).cso_map == 0.0


def test_no_images_is_an_error(noisy):
    model, _, images, truth = noisy
    with pytest.raises(DistaxError, match="no images to evaluate"):
        evaluate(model, images[:0], jax.tree.map(lambda leaf: leaf[:0], truth))


def test_the_model_of_this_test_is_found_out_by_wrong_answers(noisy):
    model, grids, images, truth = noisy
    wrong = nnx.clone(model)
    wrong.grids[...] = jnp.roll(grids, 1, axis=0)
    assert evaluate(wrong, images, truth, batch_size=8).cso_map < 0.01
