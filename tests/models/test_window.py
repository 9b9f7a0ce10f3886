import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from distax import DistaxError, Sensor, make_targets, render
from distax.imaging.scenes import simulate
from distax.models import create
from distax.models.window import corners, crop, paste


def naive_crop(image, corner, side):
    window = np.zeros((side, side), image.dtype)
    for i in range(side):
        for j in range(side):
            row, column = corner[0] + i, corner[1] + j
            if 0 <= row < image.shape[0] and 0 <= column < image.shape[1]:
                window[i, j] = image[row, column]
    return window


@pytest.fixture(scope="module")
def maps():
    rng = np.random.default_rng(0)
    corner = np.int32([[0, 0], [-3, 2], [4, 5], [6, -2], [-2, 7]])
    return jnp.float32(rng.normal(size=(5, 8, 9))), jnp.asarray(corner)


def test_windows_are_what_lies_there_and_zero_beyond(maps):
    images, corner = maps
    windows = crop(images, corner, 5)
    for one in range(5):
        expected = naive_crop(np.asarray(images[one]), np.asarray(corner[one]), 5)
        np.testing.assert_array_equal(windows[one], expected)


def test_pasting_is_the_transpose_of_cropping(maps):
    images, corner = maps
    other = jnp.asarray(np.random.default_rng(1).normal(size=(5, 5, 5)), jnp.float32)
    left = jnp.sum(crop(images, corner, 5) * other)
    right = jnp.sum(images * paste(other, corner, (8, 9)))
    assert float(left) == pytest.approx(float(right), rel=1e-5)


def test_the_window_is_around_the_blob_wherever_it_is():
    rows, columns = np.divmod(np.arange(121), 11)
    place = np.stack([rows, columns], -1).astype(np.float32)
    images = render(make_targets(jnp.asarray(place)[:, None], jnp.full((121, 1), 230.0)), Sensor())
    np.testing.assert_array_equal(corners(images, 7), place - 3)


def test_all_but_nothing_of_a_scene_is_in_its_window():
    images, _ = simulate(jax.random.key(0), 200, Sensor(bit_depth=None))
    windows = crop(images, corners(images, 7), 7)
    lost = 1 - jnp.sum(windows, axis=(1, 2)) / jnp.sum(images, axis=(1, 2))
    assert float(jnp.max(lost)) < 2e-5


def test_a_window_far_larger_than_the_image_is_refused():
    create("espcn", rngs=nnx.Rngs(0), window=23)
    with pytest.raises(DistaxError, match="window must be at most 23 pixels for images of 11×11"):
        create("espcn", rngs=nnx.Rngs(0), window=10**9 + 1)
