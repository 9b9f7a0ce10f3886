from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from distax import make_targets
from distax.metrics import LocalizationSums, assign

jitted = jax.jit(assign)
of = jax.jit(LocalizationSums.of)


def sums_of(found, truth, *valid):
    return of(found, truth, jitted(found, truth), *valid)


def random_pair(seed, images, found, true):
    """Draws targets within one pixel, spaced like the benchmark's, with padding in any slot."""
    rng = np.random.default_rng(seed)

    def make(slots):
        return make_targets(
            jnp.float32(rng.uniform(4.5, 5.5, (images, slots, 2))),
            jnp.full((images, slots), 240.0),
            jnp.asarray(rng.random((images, slots)) < 0.7),
        )

    return make(found), make(true)


@pytest.mark.parametrize(("found", "true"), [(4, 4), (6, 4), (3, 5)])
def test_assign_agrees_with_scipy(found, true):
    images = 200
    pair = random_pair(found, images, found, true)
    pairing = jitted(*pair)
    distance, paired = np.asarray(pairing.distance), np.asarray(pairing.paired)
    assert distance.shape == paired.shape == (images, found)

    estimates, targets = (jax.tree.map(np.asarray, side) for side in pair)
    for image in range(images):
        a = estimates.position[image][estimates.mask[image]].astype(float)
        b = targets.position[image][targets.mask[image]].astype(float)
        cost = np.linalg.norm(a[:, None] - b, axis=-1)
        best = cost[linear_sum_assignment(cost)]
        assert paired[image].sum() == len(best)
        np.testing.assert_allclose(distance[image][paired[image]].sum(), best.sum(), atol=1e-5)


@pytest.mark.parametrize(("found", "true"), [(6, 4), (3, 5)])
def test_partners_are_real_targets_at_the_stated_distance_and_none_is_shared(found, true):
    pair = random_pair(found, 200, found, true)
    estimates, targets, pairing = jax.tree.map(np.asarray, (*pair, jitted(*pair)))
    for image, slot in np.ndindex(*pairing.partner.shape):
        partner = int(pairing.partner[image, slot])
        if partner < 0:
            assert pairing.distance[image, slot] == np.inf
            continue
        assert estimates.mask[image, slot]
        assert targets.mask[image, partner]
        np.testing.assert_allclose(
            pairing.distance[image, slot],
            np.hypot(*(estimates.position[image, slot] - targets.position[image, partner])),
            rtol=1e-5,
        )
        assert np.count_nonzero(pairing.partner[image] == partner) == 1


def test_found_targets_without_a_finite_position_are_left_over():
    found = make_targets(jnp.array([[[jnp.nan, 0.0], [1.0, 0.0]]]), jnp.ones((1, 2)))
    truth = make_targets(jnp.array([[[0.0, 0.0], [1.0, 0.0]]]), jnp.ones((1, 2)))
    pairing = jitted(found, truth)
    np.testing.assert_array_equal(pairing.partner, [[-1, 1]])
    np.testing.assert_array_equal(pairing.distance, [[np.inf, 0.0]])


def test_assign_is_the_same_batched_and_vmapped():
    pair = random_pair(0, 200, 3, 5)
    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=1e-6), jax.vmap(assign)(*pair), jitted(*pair)
    )


def test_assign_minimises_the_sum_of_distances_not_each_distance():
    # Nearest first would pair 0.0 with 0.1 and leave 1.0 for −0.2: 1.3 in all, against 1.1.
    found = make_targets(jnp.array([[[0.0, 0.0], [1.0, 0.0]]]), jnp.ones((1, 2)))
    truth = make_targets(jnp.array([[[-0.2, 0.0], [0.1, 0.0]]]), jnp.ones((1, 2)))
    pairing = jitted(found, truth)
    np.testing.assert_allclose(pairing.distance[0], [0.2, 0.9], rtol=1e-5)
    assert pairing.paired.all()


def test_count_accuracy_and_rmse_by_hand():
    found = make_targets(
        jnp.array([[[5.0, 5.0], [6.0, 6.0]], [[3.0, 4.0], [9.0, 9.0]], [[1.0, 1.0], [2.0, 2.0]]]),
        jnp.full((3, 2), 240.0),
        jnp.array([[True, True], [True, False], [True, True]]),
    )
    truth = make_targets(
        jnp.array([[[6.0, 6.4], [5.3, 5.0]], [[3.0, 4.0], [3.0, 5.0]], [[2.0, 2.0], [1.0, 1.1]]]),
        jnp.full((3, 2), 240.0),
        jnp.array([[True, True], [False, True], [True, True]]),
    )
    sums = sums_of(found, truth)  # squared distances: 0.16 + 0.09, 1, 0 + 0.01
    assert (int(sums.images), int(sums.right_count), int(sums.pairs)) == (3, 3, 5)
    # Distances 0.4 and 0.3, 1, 0 and 0.1, the last on the edge of a radius but for rounding.
    np.testing.assert_array_equal(sums.within[2:], [2, 2, 2])
    np.testing.assert_allclose(sums.share_within[0], 1 / 5)
    np.testing.assert_allclose(sums.rmse, np.sqrt(1.26 / 5), rtol=1e-5)
    np.testing.assert_allclose(sums.count_accuracy, 1.0)

    fewer = make_targets(found.position, found.intensity, found.mask.at[0, 0].set(False))
    sums = sums_of(fewer, truth)
    assert (int(sums.images), int(sums.right_count), int(sums.pairs)) == (3, 2, 4)
    assert int(sums.targets) == 5
    np.testing.assert_allclose(sums.count_accuracy, 2 / 3, rtol=1e-6)
    np.testing.assert_allclose(sums.rmse, np.sqrt(1.17 / 4), rtol=1e-5)


def test_merged_sums_equal_those_of_the_whole():
    pair = random_pair(1, 20, 4, 4)
    parts = [jax.tree.map(lambda a, s=s: a[s], pair) for s in (slice(0, 7), slice(7, 20))]
    merged = jax.tree.map(jnp.add, *(sums_of(*part) for part in parts))
    whole = sums_of(*pair)
    assert (merged.images, merged.right_count) == (whole.images, whole.right_count)
    assert merged.pairs == whole.pairs
    assert 0 < whole.right_count < whole.images == 20
    np.testing.assert_allclose(merged.rmse, whole.rmse, rtol=1e-6)
    np.testing.assert_allclose(merged.count_accuracy, whole.count_accuracy)


def test_invalid_images_are_left_out():
    pair = random_pair(2, 20, 4, 4)
    valid = np.random.default_rng(0).random(20) < 0.6
    kept = sums_of(*jax.tree.map(lambda a: a[valid], pair))
    masked = sums_of(*pair, jnp.asarray(valid))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6), masked, kept)
