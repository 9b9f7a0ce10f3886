from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax import DistaxError, make_targets
from distax.imaging.targets import CREDIBLE_LEVELS
from distax.metrics import RADII, CoverageSums, ReliabilitySums, assign


@jax.jit
def sums_of(found, truth, valid=True):
    pairing = assign(found, truth)
    return CoverageSums.of(found, pairing, valid), ReliabilitySums.of(found, pairing, valid)


def random_pair(seed, images=60, found=4, true=3):
    """Returns answers whose regions and probabilities are independent of their errors."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0, 3, (images, true, 2))
    near = truth[:, rng.integers(0, true, found)] + rng.normal(0, 0.1, (images, found, 2))

    def make(position):
        mask = jnp.asarray(rng.random(position.shape[:-1]) < 0.7)
        return make_targets(jnp.float32(position), jnp.full(position.shape[:-1], 240.0), mask)

    shape = (images, found)
    stated = replace(
        make(near),
        credible_radius=jnp.float32(np.sort(rng.uniform(0, 0.3, (*shape, len(CREDIBLE_LEVELS))))),
        hit_probability=jnp.float32(np.sort(rng.uniform(0, 1, (*shape, len(RADII))))),
    )
    return stated, make(truth)


def test_agrees_with_one_target_at_a_time():
    found, truth = random_pair(0)
    distance = np.asarray(assign(found, truth).distance)
    regions, covered = 0, np.zeros(len(CREDIBLE_LEVELS), int)
    detections, hits = np.zeros((2, len(RADII), 10), int)
    reported = np.zeros((len(RADII), 10))
    for image, slot in np.argwhere(found.mask):
        regions += 1
        covered += distance[image, slot] <= np.asarray(found.credible_radius[image, slot])
        for index, radius in enumerate(RADII):
            probability = float(found.hit_probability[image, slot, index])
            number = min(int(10 * probability), 9)
            detections[index, number] += 1
            reported[index, number] += probability
            hits[index, number] += distance[image, slot] <= np.float32(radius)

    coverage, reliability = sums_of(found, truth)
    assert int(coverage.regions) == regions
    np.testing.assert_array_equal(coverage.covered, covered)
    np.testing.assert_allclose(coverage.coverage, covered / regions, rtol=1e-6)
    np.testing.assert_array_equal(reliability.detections, detections)
    np.testing.assert_array_equal(reliability.hits, hits)
    np.testing.assert_allclose(reliability.reported.total, reported, rtol=1e-5)
    assert covered.min() > 0
    assert covered.max() < regions
    assert hits.sum() > 0


def test_gaussian_errors_of_known_spread_are_calibrated():
    """Gaussian errors whose regions and probabilities are computed from their known spread."""
    rng = np.random.default_rng(1)
    images, spread = 4000, rng.uniform(0.02, 0.2, (4000, 1))
    places = np.full((images, 1, 2), 5.0)
    errors = spread[..., None] * rng.normal(size=places.shape)
    flux = jnp.full((images, 1), 240.0)
    levels = np.sqrt(-2 * np.log1p(-np.array(CREDIBLE_LEVELS)))
    found = replace(
        make_targets(jnp.float32(places + errors), flux),
        credible_radius=jnp.float32(spread[..., None] * levels),
        hit_probability=jnp.float32(-np.expm1(-((np.array(RADII) / spread[..., None]) ** 2) / 2)),
    )
    coverage, reliability = sums_of(found, make_targets(jnp.float32(places), flux))
    np.testing.assert_allclose(coverage.coverage, CREDIBLE_LEVELS, atol=0.02)
    deviation = (reliability.hits - reliability.reported.total) / np.sqrt(
        np.maximum(reliability.detections, 1)
    )
    assert np.abs(deviation).max() < 2


def test_sums_over_batches_add_and_invalid_images_are_left_out():
    pair = random_pair(2)
    parts = [jax.tree.map(lambda a, s=s: a[s], pair) for s in (slice(0, 25), slice(25, 60))]
    merged = jax.tree.map(jnp.add, *(sums_of(*part) for part in parts))
    same = partial(np.testing.assert_allclose, rtol=1e-5)
    jax.tree.map(same, merged, sums_of(*pair))
    jax.tree.map(same, sums_of(*pair, jnp.arange(60) < 25), sums_of(*parts[0]))


def test_estimators_without_uncertainties_are_refused():
    _, truth = random_pair(3)
    pairing = assign(truth, truth)
    with pytest.raises(DistaxError, match="coverage needs an estimator that reports credible"):
        CoverageSums.of(truth, pairing)
    with pytest.raises(DistaxError, match="reliability needs an estimator that reports hit"):
        ReliabilitySums.of(truth, pairing)
