from dataclasses import asdict, replace

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from distax import DistaxError, Sensor, decode, make_targets, rasterize
from distax.evaluation import assess, evaluate
from distax.imaging.scenes import ScenePrior, simulate
from distax.metrics import psnr, ssim
from distax.models import GridModel, Model
from distax.models.base import Constant

LAW = ScenePrior()


class Remembers(GridModel):
    """Returns the grid stored for each image, which it recognises by the image's sum."""

    def __init__(self, images, grids):
        super().__init__(3, Sensor())
        self.sums, self.grids = Constant(jnp.sum(images, axis=(1, 2))), Constant(grids)

    def __call__(self, images):
        sums = jnp.sum(images, axis=(1, 2))
        return self.grids[...][jnp.argmin(jnp.abs(self.sums[...] - sums[:, None]), axis=1)]


class OffGrid(Model):
    """Finds one target at the centre of mass, with a score that is not its intensity."""

    def loss(self, images, targets):
        return jnp.zeros(())

    def detect(self, images):
        total = jnp.sum(images, axis=(1, 2))
        row, column = (
            jnp.sum(images, axis=axis) @ jnp.arange(11.0) / jnp.maximum(total, 1) for axis in (2, 1)
        )
        position = jnp.stack([row, column], axis=-1)[:, None]
        return make_targets(position, total[:, None], score=1 / (1 + total[:, None]))


@pytest.fixture(scope="module")
def noisy():
    """Scenes with different sums, and a model whose grids are the true ones with noise."""
    images, truth = simulate(jax.random.key(0), 30, Sensor(bit_depth=None), LAW)
    grids = rasterize(truth, Sensor(), 3)
    grids += 40 * jax.random.normal(jax.random.key(1), grids.shape)
    return Remembers(images, grids), grids, images, truth


def test_results_are_those_of_what_it_finds_and_the_quality_of_its_grids(noisy):
    model, grids, images, truth = noisy
    # 30 images in batches of 8: the last batch is padded.
    result = evaluate(model, images, truth, batch_size=8, prior=LAW)
    labels = rasterize(truth, Sensor(), 3)
    quality = {
        name: pytest.approx(float(jnp.mean(metric(grids, labels))), rel=1e-5)
        for name, metric in {"psnr": psnr, "ssim": ssim}.items()
    }
    expected = asdict(assess(decode(grids), truth, Sensor(), LAW))
    for name in quality:
        low, high = result.intervals[name]
        expected["intervals"][name] = [low, high]
        assert low < getattr(result, name) < high
    assert asdict(result) == expected | quality
    assert 0.0 < result.cso_map < 1.0


def test_the_two_rankings_of_a_grid_model_are_one(noisy):
    model, _, images, truth = noisy
    result = evaluate(model, images, truth, batch_size=8, prior=LAW)
    assert (result.cso_map_by_score, result.ap_by_score) == (result.cso_map, result.ap)
    assert result.coverage is result.reliability is None


def test_a_model_without_a_grid_has_no_quality_of_one(noisy):
    _, _, images, truth = noisy
    result = evaluate(OffGrid(), images, truth, batch_size=8, prior=LAW)
    expected = assess(OffGrid().detect(images), truth, Sensor(), LAW)
    assert result.psnr is result.ssim is None
    assert result.rmse == pytest.approx(expected.rmse, rel=1e-5)
    assert result.ap == expected.ap
    assert result.ap_by_score == expected.ap_by_score != result.ap


def test_the_batch_size_changes_nothing(noisy):
    model, _, images, truth = noisy
    first, second = (evaluate(model, images, truth, batch_size=size, prior=LAW) for size in (8, 30))
    rounded = {"psnr": 0.0, "ssim": 0.0}
    for result in (first, second):
        result.intervals.update(rounded)
    assert replace(first, **rounded) == replace(second, **rounded)
    assert first.psnr == pytest.approx(second.psnr, rel=1e-6)
    assert first.ssim == pytest.approx(second.ssim, rel=1e-6)


def test_the_threshold_is_used(noisy):
    model, _, images, truth = noisy
    assert evaluate(model, images, truth, threshold=1e4, batch_size=8, prior=LAW).cso_map == 0.0


def test_no_images_is_an_error(noisy):
    model, _, images, truth = noisy
    with pytest.raises(DistaxError, match="no images to evaluate"):
        evaluate(model, images[:0], jax.tree.map(lambda leaf: leaf[:0], truth))


def test_the_model_of_this_test_is_found_out_by_wrong_answers(noisy):
    model, grids, images, truth = noisy
    wrong = nnx.clone(model)
    wrong.grids[...] = jnp.roll(grids, 1, axis=0)
    assert evaluate(wrong, images, truth, batch_size=8, prior=LAW).cso_map < 0.01


def test_images_without_their_truth_are_refused():
    images, truth = simulate(jax.random.key(0), 3, Sensor())
    fewer = jax.tree.map(lambda leaf: leaf[:2], truth)
    with pytest.raises(DistaxError, match="3 images cannot be compared with the truth of 2"):
        evaluate(OffGrid(), images, fewer)
