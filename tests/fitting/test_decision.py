from dataclasses import replace
from functools import partial
from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from distax.fitting.decision import decide
from distax.imaging.targets import CREDIBLE_LEVELS
from distax.metrics import RADII

DRAWS = 256
decided = jax.jit(decide)


def draws(places, spread=0.02, seed=0):
    """Draws scenes whose targets scatter around `places` `[S, K, 2]`."""
    rng = np.random.default_rng(seed)
    position = np.asarray(places) + rng.normal(0, spread, np.shape(places))
    return jnp.float32(position), jnp.float32(rng.uniform(220, 250, position.shape[:2]))


@pytest.fixture(scope="module")
def two_modes():
    """Pairs of targets, one side by side, one above the other: 60 draws in 100 and the rest."""
    upright, level = [[5.3, 5.0], [4.7, 5.0]], [[5.0, 4.7], [5.0, 5.3]]
    return draws(np.where((np.arange(DRAWS) % 5 < 3)[:, None, None], upright, level))


def expected_hits(answer, position):
    """Mean over draws of the hits as CSO-mAP counts them, over all radii, detection by detection.

    Each detection is matched to its nearest target only; a target counts once.
    """
    total = 0
    for scene in np.asarray(position, float):
        distance = np.linalg.norm(np.asarray(answer, float)[:, None] - scene, axis=-1)
        for radius in RADII:
            near = [int(row.argmin()) for row in distance if row.min() <= radius]
            total += len(set(near))
    return total / len(position)


def test_the_centre_of_a_single_mode_is_chosen():
    position, intensity = draws(np.broadcast_to([[4.8, 5.1], [5.3, 4.9]], (DRAWS, 2, 2)))
    found = decided(position, intensity)
    order = np.argsort(np.asarray(found.position[:, 0]))
    np.testing.assert_allclose(found.position[order], [[4.8, 5.1], [5.3, 4.9]], atol=0.01)
    np.testing.assert_allclose(
        found.covariance, np.broadcast_to(0.02**2 * np.eye(2), (2, 2, 2)), atol=1e-4
    )
    assert found.mask.all()


def test_the_answer_lies_in_one_of_two_modes_not_between(two_modes):
    found = decided(*two_modes)
    order = np.argsort(np.asarray(found.position[:, 0]))
    np.testing.assert_allclose(found.position[order], [[4.7, 5.0], [5.3, 5.0]], atol=0.02)
    # The other mode keeps its share: six draws in ten hit, at all radii but the smallest.
    np.testing.assert_allclose(found.score, 0.6, atol=0.05)
    np.testing.assert_allclose(found.hit_probability[:, 2], 0.6, atol=0.03)


def test_the_order_of_targets_in_a_draw_does_not_matter(two_modes):
    position, intensity = (np.array(leaf) for leaf in two_modes)
    for draw in range(1, DRAWS, 2):
        position[draw], intensity[draw] = position[draw, ::-1], intensity[draw, ::-1]
    found, expected = decided(jnp.asarray(position), jnp.asarray(intensity)), decided(*two_modes)
    # Candidates are taken by place in the list, so that they differ a little.
    order = [np.argsort(np.asarray(answer.position[:, 0])) for answer in (found, expected)]
    np.testing.assert_allclose(found.position[order[0]], expected.position[order[1]], atol=0.01)
    np.testing.assert_allclose(found.score, expected.score, atol=0.02)


def test_the_highest_score_comes_first():
    rng = np.random.default_rng(1)
    centre = np.array([[4.7, 4.7], [5.3, 5.3], [4.7, 5.3]])
    position = centre + rng.normal(0, 1, (DRAWS, 3, 2)) * np.array([0.15, 0.01, 0.05])[:, None]
    found = decided(jnp.float32(position), jnp.full((DRAWS, 3), 230.0))
    np.testing.assert_allclose(found.position, centre[[1, 2, 0]], atol=0.08)
    assert (np.diff(found.score) < 0).all()
    assert (np.diff(found.position_std[:, 0]) > 0).all()


def test_stated_uncertainties_agree_with_counts_of_draws(two_modes):
    position, intensity = two_modes
    found = decided(position, intensity)
    answer = np.asarray(found.position, float)
    distance, there, flux = np.zeros((DRAWS, 2)), np.zeros((DRAWS, 2, 2)), np.zeros((DRAWS, 2))
    for draw, scene in enumerate(np.asarray(position, float)):
        cost = np.linalg.norm(answer[:, None] - scene, axis=-1)
        _, partner = linear_sum_assignment(cost)
        there[draw], flux[draw] = scene[partner], np.asarray(intensity)[draw, partner]
        distance[draw] = cost[[0, 1], partner]
    shares = [[np.mean(distance[:, k] <= radius) for radius in RADII] for k in (0, 1)]
    np.testing.assert_allclose(found.hit_probability, shares, atol=1e-6)
    quantiles = np.quantile(distance, CREDIBLE_LEVELS, axis=0).T
    np.testing.assert_allclose(found.credible_radius, quantiles, rtol=1e-3)
    for slot in (0, 1):
        np.testing.assert_allclose(
            found.covariance[slot], np.cov(there[:, slot].T, bias=True), rtol=1e-2, atol=1e-5
        )
    np.testing.assert_allclose(found.intensity, flux.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(found.intensity_std, flux.std(axis=0), rtol=1e-3)


def test_the_score_is_the_expected_share_of_hits():
    """It is the mean over radii of the hits of the target nearest to each place."""
    position, intensity = draws(
        np.broadcast_to([[4.8, 5.0], [5.3, 5.0]], (DRAWS, 2, 2)), spread=0.1, seed=2
    )
    found = decided(position, intensity)
    offset = np.asarray(found.position, float)[:, None, None] - np.asarray(position, float)
    distance = np.linalg.norm(offset, axis=-1).min(axis=-1)
    share = [np.mean(distance[k][:, None] <= np.array(RADII)) for k in (0, 1)]
    np.testing.assert_allclose(found.score, share, atol=1e-5)


def test_the_answer_hits_as_many_as_any_choice_of_drawn_places():
    """Compared with all sets of drawn positions by brute force, for scenes with three modes."""
    modes = np.array(
        [
            [[4.7, 4.7], [5.3, 5.3]],
            [[4.7, 5.3], [5.3, 4.7]],
            [[4.7, 4.75], [5.0, 5.4]],
        ]
    )
    position, intensity = draws(np.tile(modes, (10, 1, 1)), spread=0.04, seed=3)
    repeated = (jnp.resize(leaf, (DRAWS, *leaf.shape[1:])) for leaf in (position, intensity))
    found = decided(*repeated)
    places = np.asarray(position, float).reshape(-1, 2)
    candidates = places[:: len(places) // 24]
    best = max(expected_hits(places, position) for places in combinations(candidates, 2))
    # Candidates are smoothed, which gains more than the greedy choice can lose.
    assert expected_hits(found.position, position) >= 0.98 * best
    np.testing.assert_allclose(
        len(RADII) * found.score.sum(), expected_hits(found.position, position), rtol=0.02
    )


def test_the_answer_follows_shifted_and_transposed_draws(two_modes):
    position, intensity = two_modes
    found = decided(position, intensity)
    same = partial(np.testing.assert_allclose, atol=2e-5, rtol=1e-3)
    moved = decided(position + jnp.array([2.0, -1.0]), intensity)
    same(moved.position, found.position + jnp.array([2.0, -1.0]))
    turned = decided(position[..., ::-1], intensity)
    jax.tree.map(
        same,
        turned,
        replace(
            found,
            position=found.position[:, ::-1],
            covariance=found.covariance[:, ::-1, ::-1],
        ),
    )
