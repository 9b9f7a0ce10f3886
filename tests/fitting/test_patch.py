import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from distax import Sensor, make_targets, render
from distax.fitting.patch import cut_patches, window_width
from distax.imaging.scenes import ScenePrior

PRIOR = ScenePrior()
IDEAL = Sensor(saturation=None, bit_depth=None)
WIDTH = window_width(IDEAL, PRIOR.cluster)
cut_out = jax.jit(cut_patches, static_argnums=2)


def test_the_larger_sigma_sets_the_width_of_the_window():
    widths = {window_width(Sensor(sigma=sigma), 1.0) for sigma in ((0.4, 0.9), (0.9, 0.4), 0.9)}
    assert len(widths) == 1


@pytest.mark.parametrize(("sigma", "cluster"), [(0.5, 1.0), (0.5, 2.0), (0.8, 1.0), (0.3, 0.6)])
def test_the_window_is_the_smallest_that_holds_the_flux_of_every_target(sigma, cluster):
    width = window_width(Sensor(sigma=sigma), cluster)
    assert width % 2 == 1
    farthest = cluster / 2
    beyond = norm.sf((width / 2 - farthest) / sigma)
    assert beyond < 2e-4
    assert norm.sf((width / 2 - 1 - farthest) / sigma) > 1.5e-4


def test_a_window_holds_the_pixels_of_the_image_and_no_edges_beyond_it():
    rng = np.random.default_rng(0)
    images = rng.integers(1, 100, (9, 11, 11)).astype(np.float32)
    corners = [(0, 0), (0, 5), (0, 10), (5, 0), (5, 5), (5, 10), (10, 0), (10, 5), (10, 10)]
    for image, corner in zip(images, corners, strict=True):
        image *= 0.02
        image[corner] = 200.0
    images = np.ceil(images)
    patch = jax.tree.map(np.asarray, cut_out(images, Sensor(), WIDTH))
    np.testing.assert_array_equal(patch.origin.T, corners)
    for lane, (image, corner) in enumerate(zip(images, corners, strict=True)):
        for pixel, (i, j) in enumerate(np.ndindex(5, 5)):
            row, column = corner[0] + i - 2, corner[1] + j - 2
            read = patch.counts[pixel, lane], patch.lower[pixel, lane], patch.upper[pixel, lane]
            if 0 <= row < 11 and 0 <= column < 11:
                count = image[row, column]
                assert read == (count, count - 0.5, count + 0.5)
            else:
                assert read == (0.0, -math.inf, math.inf)


def test_edges_and_variance_of_each_kind_of_pixel():
    image = np.full((1, 11, 11), 12.0, np.float32)
    image[0, 3, 3] = 20
    image[0, 5, 5], image[0, 5, 6], image[0, 4, 5], image[0, 6, 5] = 255, 0, np.nan, 120
    sensor = Sensor(background=12.0, read_noise=3.0, gain=2.0)
    patch = jax.tree.map(lambda leaf: np.asarray(leaf)[..., 0], cut_out(image, sensor, WIDTH))
    np.testing.assert_array_equal(patch.origin, [5, 5])

    def at(row, column):
        pixel = 5 * (row - 3) + column - 3
        return tuple(leaf[pixel] for leaf in (patch.lower, patch.upper, patch.variance))

    assert at(3, 3) == (7.5, 8.5, 9 + 20 / 2)
    assert at(6, 5) == (107.5, 108.5, 9 + 120 / 2)
    assert at(5, 5) == (242.5, math.inf, 9 + 255 / 2)  # clipped: at least 254.5 with background
    assert at(5, 6)[:2] == (-math.inf, -11.5)  # zero: noise may have gone below it
    assert at(4, 5)[:2] == (-math.inf, math.inf)  # left out
    np.testing.assert_array_equal(patch.counts.reshape(5, 5)[1, 2], 0.0)


def test_real_readings_have_narrow_intervals():
    image = np.zeros((1, 11, 11), np.float32)
    image[0, 4, 6] = 1234.5
    patch = jax.tree.map(np.asarray, cut_out(image, IDEAL, WIDTH))
    half = (patch.upper - patch.lower) / 2
    assert np.isfinite(half).all()
    assert half.max() < 0.1
    np.testing.assert_allclose((patch.upper + patch.lower) / 2, patch.counts, atol=1e-3)
    assert patch.counts[12, 0] == 1234.5
    np.testing.assert_allclose(patch.rounding, (2 * half.max()) ** 2 / 12, rtol=1e-2)


def test_the_window_is_centred_on_the_pixel_that_holds_a_target():
    rng = np.random.default_rng(1)
    position = rng.uniform(-0.5, 10.5, (400, 1, 2)).astype(np.float32)
    images = render(make_targets(jnp.asarray(position), jnp.full((400, 1), 240.0)), IDEAL)
    origin = np.asarray(cut_out(images, IDEAL, WIDTH).origin).T
    inside = np.all((position[:, 0] > 1.0) & (position[:, 0] < 9.0), axis=1)
    assert inside.sum() > 100
    assert np.abs(origin - position[:, 0])[inside].max() < 0.51
    # At the border part of the flux is lost and the centroid is drawn inwards.
    assert np.abs(origin - position[:, 0]).max() < 0.7


def test_clipping_moves_the_window_by_a_pixel_at_most(simulated):
    images, targets = simulated
    host = np.floor(np.nan_to_num(np.asarray(targets.position[:, 0])) + 0.5)
    away = np.abs(np.asarray(cut_out(images, Sensor(), WIDTH).origin).T - host).max(axis=1)
    assert away.max() <= 1
    assert np.mean(away > 0) < 0.1


def test_an_empty_or_unreadable_image_still_has_a_window():
    images = np.stack([np.zeros((11, 11), np.float32), np.full((11, 11), np.nan, np.float32)])
    patch = jax.tree.map(np.asarray, cut_out(images, Sensor(), WIDTH))
    assert (patch.origin >= 0).all()
    assert (patch.origin <= 10).all()
    np.testing.assert_array_equal(patch.counts, 0.0)
    assert np.isneginf(patch.lower).all()
    assert np.isposinf(patch.upper[:, 1]).all()


def test_each_window_depends_on_its_image_alone(simulated):
    images = np.asarray(simulated[0])
    whole, backwards = (cut_out(stack, Sensor(), WIDTH) for stack in (images, images[::-1]))
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(a, np.asarray(b)[..., ::-1]), whole, backwards
    )
