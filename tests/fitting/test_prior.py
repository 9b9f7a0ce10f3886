from dataclasses import replace
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax.fitting.patch import Patch
from distax.fitting.prior import (
    all_starting_scenes,
    host_range,
    intensity_bounds,
    intensity_range,
    log_prior,
    proposal_precision,
    starting_scenes,
)
from distax.imaging.scenes import ScenePrior
from distax.imaging.sensor import ROUNDING_VARIANCE

PRIOR = ScenePrior()
SIZE = 4096
prior_of = jax.jit(log_prior)


def patch_at(origin, lanes, size=(11, 11)):
    """Makes a patch at a place in the image; its only noise is rounding."""
    pixels = jnp.zeros((1, lanes))
    at, shape = (jnp.tile(jnp.array(pair)[:, None], lanes) for pair in (origin, size))
    same = dict.fromkeys(("counts", "lower", "upper", "variance"), pixels)
    return Patch(**same, rounding=pixels[0] + ROUNDING_VARIANCE, origin=at, size=shape)


@pytest.fixture(scope="module")
def start():
    """Scenes of three targets, targets first."""
    return np.asarray(starting_scenes(PRIOR, 3, SIZE))


def naive_hosts(scene, origin, prior, size=(11, 11)):
    """Finds the pixels whose square holds all targets, by trying each."""
    places = scene[:, :2] + np.asarray(origin)
    rows, columns = (range(prior.border, length - prior.border) for length in size)
    return [
        (row, column)
        for row, column in product(rows, columns)
        if np.abs(places - (row, column)).max() <= prior.cluster / 2
    ]


def naive_density(scene, origin, prior, size):
    """Computes the density up to a constant: the number of possible hosts of an allowed scene."""
    distances = [
        np.hypot(*(scene[i, :2] - scene[j, :2])) for i in range(len(scene)) for j in range(i)
    ]
    intensity = scene[:, 2]
    allowed = (
        min(distances, default=np.inf) >= prior.min_distance
        and intensity.min() >= prior.min_intensity
        and intensity.max() <= prior.max_intensity
    )
    return len(naive_hosts(scene, origin, prior, size)) if allowed else 0


def test_starting_scenes_keep_the_prior(start):
    scenes = start
    assert scenes.shape == (3, 3, SIZE)
    intensity = scenes[:, 2]
    assert intensity.min() >= 220
    assert intensity.max() <= 250
    np.testing.assert_allclose(intensity.mean(), 235, atol=0.5)
    for k, other in ((0, 1), (0, 2), (1, 2)):
        distance = np.hypot(*(scenes[k, :2] - scenes[other, :2]))
        assert distance.min() >= PRIOR.min_distance - 1e-6
        assert distance.min() < PRIOR.min_distance + 0.02
    host = np.round(scenes[:, :2].mean(axis=0))
    assert np.abs(host).max() == 1
    assert np.abs(scenes[:, :2] - host).max() <= 0.5 + 1e-6


def test_half_of_the_starting_scenes_have_a_neighbour_as_host(start):
    host = np.round(start[:, :2].mean(axis=0)).astype(int)
    for at in product((-1, 0, 1), repeat=2):
        share = np.mean((host == np.array(at)[:, None]).all(axis=0))
        np.testing.assert_allclose(share, 1 / 16 if any(at) else 1 / 2, atol=0.03)


def test_starting_scenes_are_the_same_inside_and_outside_jit(start):
    @jax.jit
    def inside():
        return starting_scenes(PRIOR, 3, SIZE)

    np.testing.assert_array_equal(inside(), start)


@pytest.mark.parametrize("cluster", [1.0, 2.0])
def test_the_log_prior_agrees_with_trying_every_host(cluster):
    prior, size = ScenePrior(cluster=cluster, max_targets=2, border=1), (9, 11)
    rng = np.random.default_rng(0)
    lanes = 600
    place = rng.uniform(-1.2, 1.2, (2, 1, lanes)) + rng.uniform(-0.5, 0.5, (2, 2, lanes))
    scenes = np.concatenate([place, rng.uniform(219, 251, (2, 1, lanes))], axis=1)
    scenes = scenes.astype(np.float32).astype(float)
    allowed = 0
    for origin in ((4, 5), (1, 9), (0, 10)):
        expected = [naive_density(scenes[..., n], origin, prior, size) for n in range(lanes)]
        stated = prior_of(jnp.float32(scenes), patch_at(origin, lanes, size), prior)
        np.testing.assert_allclose(np.exp(stated), expected, rtol=1e-5)
        allowed += np.count_nonzero(expected)
    assert 20 < allowed < 2 * lanes


def test_the_host_range_agrees_with_trying_every_host():
    prior = ScenePrior(cluster=2.0, max_targets=2)
    rng = np.random.default_rng(1)
    place = rng.uniform(-1.5, 1.5, (1, 2, 200)) + rng.uniform(-0.8, 0.8, (2, 2, 200))
    scenes = np.concatenate([place, np.full((2, 1, 200), 230.0)], axis=1)
    scenes = scenes.astype(np.float32).astype(float)
    origin = (1, 5)
    low, high = host_range(jnp.float32(scenes), patch_at(origin, 200), prior)
    for n in range(200):
        rows, columns = (
            np.arange(low[axis, n], high[axis, n] + 1).astype(int) + origin[axis] for axis in (0, 1)
        )
        assert list(product(rows, columns)) == naive_hosts(scenes[..., n], origin, prior)


def test_one_patch_serves_many_scenes(start):
    scenes = jnp.asarray(start)
    single = prior_of(scenes, patch_at((5, 5), 1), PRIOR)
    np.testing.assert_array_equal(single, prior_of(scenes, patch_at((5, 5), SIZE), PRIOR))
    assert np.isfinite(single).mean() > 0.95  # but for rounding at the edges


def test_precisions_are_in_the_units_of_the_parameters():
    precision = np.asarray(proposal_precision(patch_at((5, 5), 1), PRIOR, 2)).reshape(2, 3)
    np.testing.assert_array_equal(precision[0], precision[1])
    np.testing.assert_allclose(precision[0, 2], 12 / 30**2)
    wide = np.asarray(
        proposal_precision(patch_at((5, 5), 1), replace(PRIOR, cluster=2.0, max_targets=2), 1)
    )
    np.testing.assert_allclose(precision[0, :2] / wide[:2], 4)
    assert (precision[0, :2] >= 12).all()  # no wider than the square


def test_noise_lowers_the_precisions_of_proposals():
    exact = patch_at((5, 5), 1)
    noisy = replace(exact, variance=255 * exact.rounding[None])  # sixteen times the deviation
    quiet, loud = (proposal_precision(patch, PRIOR, 2) for patch in (exact, noisy))
    np.testing.assert_allclose(loud, quiet / 4, rtol=1e-6)


def test_equal_intensities_leave_a_narrow_range():
    assert intensity_range(PRIOR) == 30
    equal = replace(PRIOR, max_intensity=220.0)
    assert 0 < intensity_range(equal) < 1
    scenes = jnp.zeros((1, 3, 3)).at[0, 2].set(jnp.array([220.0, 220.1, 220.2]))
    allowed = np.isfinite(prior_of(scenes, patch_at((5, 5), 3), equal))
    np.testing.assert_array_equal(allowed, [True, True, False])


def test_the_bounds_of_intensities_are_the_priors():
    assert intensity_bounds(PRIOR) == (220, 250)


def test_scenes_of_each_number_are_those_of_a_prior_of_that_number_alone():
    everything = np.asarray(all_starting_scenes(PRIOR, 32))
    assert everything.shape == (5, 5, 3, 32)
    for count in (1, 4):
        alone = replace(PRIOR, min_targets=count, max_targets=count)
        expected = starting_scenes(alone, count, 32)
        np.testing.assert_allclose(everything[count - 1, :count], expected, rtol=1e-6)
        rest = everything[count - 1, count:]
        np.testing.assert_array_equal(rest[:, 2], 0.0)
        np.testing.assert_array_equal(
            rest[:, :2], np.broadcast_to(expected[0, :2], rest[:, :2].shape)
        )
