from collections import defaultdict

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from distax import DistaxError, Sensor, decode, make_targets, rasterize
from distax.imaging.scenes import ScenePrior, sample
from distax.metrics import cso_map

OBLONG = Sensor(height=6, width=9)
FACTORS = [3, 5, 7]


def naive_rasterize(targets, sensor, factor):
    """Rasterizes target by target from the definition: node round(c·u + (c − 1)/2)."""
    targets = jax.tree.map(np.asarray, targets)
    grids = np.zeros((len(targets.mask), factor * sensor.height, factor * sensor.width))
    for image, slot in np.argwhere(targets.mask):
        node = np.round(factor * targets.position[image, slot] + (factor - 1) / 2).astype(int)
        if np.all(node >= 0) and np.all(node < grids.shape[1:]):
            grids[image, *node] += targets.intensity[image, slot]
    return grids


@pytest.mark.parametrize("factor", FACTORS)
def test_rasterize_agrees_with_a_loop(factor):
    rng = np.random.default_rng(factor)
    targets = make_targets(  # a third of the positions lie outside; some share a node
        jnp.float32(rng.uniform([-1.5, -1.5], [7, 10], (40, 30, 2))),
        jnp.float32(rng.uniform(1, 250, (40, 30))),
        jnp.asarray(rng.random((40, 30)) < 0.8),
    )
    grid = rasterize(targets, OBLONG, factor)
    np.testing.assert_allclose(grid, naive_rasterize(targets, OBLONG, factor), rtol=1e-5)


@pytest.mark.parametrize("name", ["cso_map_c3", "cso_map_c5_empty_images"])
def test_rasterize_agrees_with_the_reference_labels(name, reference, true_targets):
    arrays = reference(name)
    grid = rasterize(true_targets(arrays), Sensor(), int(arrays["c"]))
    np.testing.assert_allclose(grid, arrays["label"], rtol=1e-6)


def test_targets_that_share_a_node_are_summed():
    position = jnp.array([[2.0, 3.0], [2.1, 2.9], [2.0, 3.34]])
    grid = rasterize(make_targets(position, jnp.array([100.0, 20.0, 3.0])), OBLONG, 3)
    assert np.argwhere(grid).tolist() == [[7, 10], [7, 11]]
    np.testing.assert_array_equal(grid[7, 10:12], [120, 3])


@pytest.mark.parametrize("factor", [2, 0, -3])
def test_rasterize_needs_an_odd_factor(factor):
    with pytest.raises(DistaxError, match="odd"):
        rasterize(make_targets(jnp.zeros((1, 2)), jnp.ones(1)), Sensor(), factor)


def test_a_blur_divides_the_flux_of_targets_among_the_cells():
    rng = np.random.default_rng(0)
    position, intensity = rng.uniform([-1, -1], [6.5, 9.5], (30, 2)), rng.uniform(1, 250, 30)
    grid = rasterize(make_targets(jnp.float32(position), jnp.float32(intensity)), OBLONG, 3, 0.07)

    expected = np.zeros((18, 27))
    for (row, column), flux in zip(position, intensity, strict=True):
        for i, j in np.ndindex(expected.shape):
            share = [
                np.diff(norm.cdf([node / 3 - 0.5, node / 3 - 1 / 6], place, 0.07))[0]
                for node, place in ((i, row), (j, column))
            ]
            expected[i, j] += flux * np.prod(share)
    np.testing.assert_allclose(grid, expected, rtol=0, atol=2e-3)


def test_a_tiny_blur_agrees_with_no_blur():
    targets = sample(jax.random.key(0), 50)
    blurred = rasterize(targets, Sensor(), 5, blur=1e-5)
    # But for targets on the very border between two cells.
    agrees = np.isclose(blurred, rasterize(targets, Sensor(), 5), atol=0.1).all(axis=(1, 2))
    assert agrees.mean() > 0.95


def test_blurred_labels_rank_detections_by_their_distance():
    truth = sample(jax.random.key(1), 2000)
    sharp, blurred = (
        cso_map(decode(rasterize(truth, Sensor(), 3, blur)), truth) for blur in (0.0, 0.05)
    )
    assert 0.46 < float(sharp.mean) < 0.48
    assert 0.54 < float(blurred.mean) < 0.57
    assert (blurred.ap > sharp.ap).all()


def test_a_blur_cannot_be_negative():
    with pytest.raises(DistaxError, match=r"blur must not be negative, got -0\.1"):
        rasterize(make_targets(jnp.zeros((1, 2)), jnp.ones(1)), Sensor(), 3, blur=-0.1)


@pytest.mark.parametrize("factor", FACTORS)
def test_decode_inverts_rasterize(factor):
    # Targets further apart than a node's diagonal never share one.
    prior = ScenePrior(min_targets=2, max_targets=2, separation=0.8)
    truth = sample(jax.random.key(factor), 200, prior, OBLONG.shape)
    found = decode(rasterize(truth, OBLONG, factor), sensor=OBLONG, max_targets=3)

    order = np.argsort(-truth.intensity, axis=-1)
    np.testing.assert_array_equal(found.mask, np.tile([True, True, False], (200, 1)))
    np.testing.assert_array_equal(
        found.intensity[:, :2], np.take_along_axis(truth.intensity, order, axis=1)
    )
    moved = found.position[:, :2] - np.take_along_axis(truth.position, order[..., None], axis=1)
    assert np.abs(moved).max() <= 0.5 / factor + 1e-5
    assert np.abs(moved).max() > 0.45 / factor


def test_nodes_that_are_no_numbers_hide_no_target():
    grid = jnp.zeros((1, 33, 33)).at[0, 4, 5].set(60.0)
    broken = grid.at[0, 7].set(jnp.nan).at[0, 8].set(jnp.inf).at[0, 9].set(-jnp.inf)
    chex.assert_trees_all_equal(decode(broken), decode(grid))
    assert int(decode(broken).mask.sum()) == 1


def test_decode_agrees_with_a_loop_over_nodes():
    rng = np.random.default_rng(0)
    grids = rng.permutation(4 * 18 * 27).reshape(2, 2, 18, 27).astype(np.float32) / 10
    threshold = 180.0
    found = decode(jnp.asarray(grids), threshold, OBLONG, max_targets=60)

    expected = defaultdict(list)
    for *image, i, j in np.argwhere(grids >= threshold):
        value = grids[*image, i, j]
        expected[tuple(image)].append((-value, (i - 1) / 3, (j - 1) / 3))
    for image in np.ndindex(2, 2):
        rows = np.array(sorted(expected[image]))
        assert 10 < len(rows) == found.count[image] < 60
        np.testing.assert_array_equal(found.mask[image], np.arange(60) < len(rows))
        np.testing.assert_array_equal(found.intensity[image][: len(rows)], -rows[:, 0])
        np.testing.assert_allclose(found.position[image][: len(rows)], rows[:, 1:], atol=1e-6)
    np.testing.assert_array_equal(found.score, found.intensity)


@pytest.mark.parametrize("threshold", [0.0, -1.0, np.nan, np.inf, "x", None, True])
def test_a_threshold_is_a_finite_number_greater_than_zero(threshold, any_types):
    with pytest.raises(DistaxError, match=r"threshold must be (a finite number )?greater than 0"):
        decode(np.zeros((1, 33, 33)), threshold)


def test_the_threshold_is_inclusive():
    grid = jnp.zeros((33, 33)).at[3, 4].set(50.0).at[7, 8].set(49.999996)
    found = decode(grid)
    assert found.count == 1
    np.testing.assert_allclose(found.position[0], [2 / 3, 1.0], atol=1e-6)


def test_beyond_max_targets_the_faintest_are_left_out():
    grid = jnp.zeros((33, 33)).at[10, 10:15].set(jnp.array([60.0, 100.0, 80.0, 70.0, 90.0]))
    found = decode(grid, max_targets=3)
    np.testing.assert_array_equal(found.intensity, [100, 90, 80])
    assert found.count == 3


def test_max_targets_may_exceed_the_number_of_nodes():
    found = decode(jnp.full((1, 2), 60.0), sensor=Sensor(height=1, width=2), max_targets=9)
    assert found.count == 2


@pytest.mark.parametrize("shape", [(33, 36), (36, 33), (34, 34), (22, 22), (5, 5), (30, 30)])
def test_decode_refuses_grids_of_another_sensor(shape):
    with pytest.raises(DistaxError):
        decode(jnp.zeros(shape))


def test_decode_names_the_sizes_that_disagree():
    with pytest.raises(DistaxError, match=r"33×36 nodes .* 11×11 pixels"):
        decode(jnp.zeros((33, 36)))


def test_decode_takes_lists_and_refuses_what_is_no_grid(any_types):
    grid = np.zeros((33, 33))
    grid[4, 7] = 90.0
    assert decode(grid.tolist()).count == 1
    np.testing.assert_array_equal(decode(grid.tolist()).position, decode(jnp.array(grid)).position)
    for wrong, message in (([["a"]], "grid: an array of <U1"), (grid[0], "is no grid")):
        with pytest.raises(DistaxError, match=message):
            decode(wrong)
