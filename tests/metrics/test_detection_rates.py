"""Rates of detections against their definitions, with SciPy's assignment."""

from functools import partial

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from distax import make_targets
from distax.metrics import DetectionSums, efficiency, pair_within

RADII = (0.1, 0.3)
IMAGES, FOUND, TRUE = 6, 5, 4


@jax.jit
def sums_of(found, truth, valid=True):
    return DetectionSums.of(found, truth, pair_within(found, truth, jnp.array(RADII)), valid)


def random_pair(seed):
    """Returns detections a little off the true targets, in another order, some false or missing."""
    rng = np.random.default_rng(seed)
    true = rng.uniform(0, 1, (IMAGES, TRUE, 2))
    extra = rng.uniform(0, 1, (IMAGES, FOUND - TRUE, 2))
    place = np.concatenate([true[:, ::-1] + rng.normal(0, 0.1, true.shape), extra], axis=1)

    def targets(position):
        shape = position.shape[:2]
        return make_targets(
            jnp.float32(position),
            jnp.float32(rng.uniform(100, 300, shape)),
            jnp.asarray(rng.random(shape) < 0.7),
        )

    return targets(place), targets(true)


def naive(found, truth, radius):
    """Computes all rates by their definitions."""
    found, truth = (jax.tree.map(np.asarray, targets) for targets in (found, truth))
    distances, errors, false, missed = [], [], 0, 0
    for image in range(IMAGES):
        some, true = np.flatnonzero(found.mask[image]), np.flatnonzero(truth.mask[image])
        apart = np.linalg.norm(
            found.position[image, some][:, None] - truth.position[image, true], axis=-1
        )
        rows, columns = linear_sum_assignment(np.where(apart <= radius, apart, 1e3))
        near = apart[rows, columns] <= radius
        rows, columns = rows[near], columns[near]
        distances += apart[rows, columns].tolist()
        flux, real = found.intensity[image, some[rows]], truth.intensity[image, true[columns]]
        errors += ((flux - real) / real).tolist()
        false, missed = false + len(some) - len(rows), missed + len(true) - len(rows)
    right, rmse = len(distances), np.sqrt(np.mean(np.square(distances)))
    precision, recall = right / (right + false), right / (right + missed)
    jaccard = right / (right + false + missed)
    return {
        "precision": precision,
        "recall": recall,
        "f1": 2 / (1 / precision + 1 / recall),
        "jaccard": jaccard,
        "rmse": rmse,
        # As the challenge states it: in percent, with pixels of 100 nm and 1% per nm.
        "efficiency": (100 - np.hypot(100 - 100 * jaccard, 100 * rmse)) / 100,
        "false_rate": false / IMAGES,
        "intensity_bias": np.mean(errors),
        "intensity_error": np.sqrt(np.mean(np.square(errors))),
    }


@pytest.mark.parametrize("seed", range(5))
def test_rates_and_errors_are_those_of_their_definitions(seed):
    pair = random_pair(seed)
    scores = sums_of(*pair).scores()
    for index, radius in enumerate(RADII):
        expected = naive(*pair, radius)
        assert scores.keys() == expected.keys()
        for name, value in expected.items():
            assert float(scores[name][index]) == pytest.approx(value, rel=1e-4), name


@hypothesis.given(st.integers(0, 1000), st.randoms(use_true_random=False))
def test_the_order_of_slots_changes_nothing(seed, random):
    pair = random_pair(seed)
    shuffled = []
    for targets in pair:
        order = list(range(targets.mask.shape[1]))
        random.shuffle(order)
        shuffled.append(jax.tree.map(lambda leaf, order=order: leaf[:, np.array(order)], targets))
    jax.tree.map(np.testing.assert_array_equal, sums_of(*pair), sums_of(*shuffled))


def test_merged_sums_are_those_of_the_whole_and_invalid_images_are_left_out():
    pair = random_pair(9)
    first = jnp.arange(IMAGES) < 2
    merged = jax.tree.map(jnp.add, sums_of(*pair, first), sums_of(*pair, ~first))
    whole = sums_of(*pair, jnp.full(IMAGES, True))
    jax.tree.map(np.testing.assert_array_equal, merged, whole)
    kept = jax.tree.map(lambda leaf: leaf[:2], pair)
    jax.tree.map(np.testing.assert_array_equal, sums_of(*pair, first), sums_of(*kept))


def test_a_perfect_answer_and_nothing_at_all():
    _, truth = random_pair(0)
    best = sums_of(truth, truth).scores()
    for name in ("precision", "recall", "f1", "jaccard", "efficiency"):
        np.testing.assert_array_equal(best[name], [1.0, 1.0])
    for name in ("rmse", "false_rate", "intensity_bias", "intensity_error"):
        np.testing.assert_array_equal(best[name], [0.0, 0.0])
    nothing = make_targets(truth.position, truth.intensity, jnp.zeros_like(truth.mask))
    none = sums_of(nothing, truth).scores()
    assert np.isnan(none["precision"]).all()
    assert np.isnan(none["rmse"]).all()
    np.testing.assert_array_equal(none["recall"], [0.0, 0.0])
    np.testing.assert_array_equal(none["jaccard"], [0.0, 0.0])


def test_alpha_is_the_price_of_a_pixel():
    assert efficiency(jnp.array(0.8), jnp.array(0.0)) == pytest.approx(0.8)
    assert efficiency(jnp.array(1.0), jnp.array(0.2)) == pytest.approx(0.8)
    assert efficiency(jnp.array(1.0), jnp.array(0.2), alpha=0.5) == pytest.approx(0.9)
    assert efficiency(jnp.array(0.7), jnp.array(0.4)) == pytest.approx(0.5)
    pair = random_pair(3)
    sums = sums_of(*pair)
    np.testing.assert_allclose(sums.efficiency(0.0), sums.jaccard, rtol=1e-6)


def test_the_sums_are_the_same_vmapped():
    pair = random_pair(4)
    each = jax.vmap(partial(sums_of, valid=True))(*pair)
    whole = jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), each)
    jax.tree.map(np.testing.assert_array_equal, whole, sums_of(*pair))
