"""Fits of all numbers of targets in one program, against one program for each number."""

from functools import partial

import jax
import numpy as np
import pytest

from distax import Sensor
from distax.fitting.all_counts import best_fits_together, images_at_once
from distax.fitting.candidates import Search, best_fits, sample_pools
from distax.fitting.patch import blob_reach, cut_patches, window_width
from distax.fitting.prior import all_starting_scenes
from distax.imaging.scenes import ScenePrior, simulate

SENSOR = Sensor(read_noise=2.0, saturation=200.0, bit_depth=None)
PRIOR = ScenePrior(max_targets=3)
SEARCH = Search(pool=16, starts=2, steps=6)


@pytest.fixture(scope="module")
def patch():
    images, _ = simulate(jax.random.key(4), 6, SENSOR, PRIOR)
    width = window_width(SENSOR, PRIOR.cluster)
    return cut_patches(images, SENSOR, width, blob_reach(width))


def in_order(fit, count):
    """Returns the scene and covariance of real targets, in the order of their rows."""
    scene = np.asarray(fit.scene[:count])
    order = np.argsort(scene[:, 0], axis=0)
    covariance = np.asarray(fit.covariance[: 3 * count, : 3 * count])
    covariance = covariance.reshape(count, 3, count, 3, -1)
    covariance = np.take_along_axis(covariance, order[:, None, None, None], axis=0)
    covariance = np.take_along_axis(covariance, order[None, None, :, None], axis=2)
    return np.take_along_axis(scene, order[:, None], axis=0), covariance


def test_every_number_has_the_fits_of_a_program_of_its_own(patch):
    apart = jax.jit(partial(best_fits, search=SEARCH))
    together = jax.jit(partial(best_fits_together, search=SEARCH))
    expected = apart(patch, sample_pools(PRIOR, SEARCH), prior=PRIOR, psf=SENSOR.psf)
    pools = all_starting_scenes(PRIOR, SEARCH.pool)
    found = together(patch, pools, prior=PRIOR, psf=SENSOR.psf)
    assert len(found) == len(expected) == 3
    for count, (one, other) in enumerate(zip(expected, found, strict=True), start=1):
        np.testing.assert_allclose(other.squares, one.squares, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(other.log_evidence, one.log_evidence, rtol=1e-3, atol=0.02)
        # Two starts may end in one fit with its targets in another order.
        (scene, covariance), (others, uncertain) = (in_order(fit, count) for fit in (one, other))
        scale = np.sqrt(np.einsum("iaiax->iax", covariance))
        assert np.abs((others - scene) / scale).max() < 0.02
        units = scale[:, :, None, None] * scale
        np.testing.assert_allclose(uncertain / units, covariance / units, atol=0.02)
        assert np.abs(other.scene[count:, 2]).max(initial=0.0) < 1e-3


def test_batches_shrink_with_huge_windows():
    few = [images_at_once(side**2, ScenePrior(), Search()) for side in (5, 57, 301)]
    assert few[0] == few[1] == 4
    assert few[2] == 1
