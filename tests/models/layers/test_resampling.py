import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax.models.layers.resampling import (
    average_pool,
    max_pool,
    pixel_shuffle,
    pixel_unshuffle,
    resize_nearest,
    upsample,
)

FACTORS = [1, 3, 5, 7]


def random(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def assert_close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("factor", FACTORS)
def test_pixel_shuffle_puts_each_channel_on_its_node(factor):
    maps = random(2, 3, 4, 2 * factor**2)
    fine = np.asarray(pixel_shuffle(jnp.asarray(maps), factor))
    assert fine.shape == (2, 3 * factor, 4 * factor, 2)
    for i in range(factor):
        for j in range(factor):
            for c in range(2):
                channel = (c * factor + i) * factor + j
                np.testing.assert_array_equal(fine[:, i::factor, j::factor, c], maps[..., channel])
    np.testing.assert_array_equal(pixel_unshuffle(jnp.asarray(fine), factor), maps)


def cubic(distance):
    """Returns the cubic kernel with the coefficient −3/4."""
    x = abs(distance)
    if x <= 1:
        return 1.25 * x**3 - 2.25 * x**2 + 1
    return -0.75 * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


def triangle(distance):
    return max(0.0, 1 - abs(distance))


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize(("method", "kernel"), [("bicubic", cubic), ("bilinear", triangle)])
def test_interpolation_has_half_pixel_centres_and_clamped_borders(method, kernel, factor):
    maps = random(2, 3, 4, 2)
    reach = 3  # samples beyond the border, which repeat the last one
    padded = np.pad(maps, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="edge")

    def weights(size):
        centres = (np.arange(factor * size) + 0.5) / factor - 0.5
        samples = np.arange(-reach, size + reach)
        return np.array([[kernel(centre - sample) for sample in samples] for centre in centres])

    expected = np.einsum("bhwc,Hh,Ww->bHWc", padded, weights(3), weights(4))
    assert_close(upsample(jnp.asarray(maps), factor, method), expected)


@pytest.mark.parametrize("factor", FACTORS)
def test_nearest_upsampling_repeats_every_sample(factor):
    maps = random(2, 3, 4, 2)
    fine = upsample(jnp.asarray(maps), factor, "nearest")
    np.testing.assert_array_equal(fine, np.kron(maps, np.ones((1, factor, factor, 1))))


@pytest.mark.parametrize(("size", "stride"), [(2, 2), (3, 1), (2, 1), (3, 2)])
def test_max_pool_takes_the_maximum_of_every_window(size, stride):
    x = random(2, 7, 8, 3)
    expected = [
        [x[:, i : i + size, j : j + size].max(axis=(1, 2)) for j in range(0, 9 - size, stride)]
        for i in range(0, 8 - size, stride)
    ]
    expected = np.array(expected).transpose(2, 0, 1, 3)
    np.testing.assert_array_equal(max_pool(jnp.asarray(x), size, stride), expected)


def test_average_pool_drops_what_does_not_fill_a_cell():
    x = random(2, 11, 9, 3)
    result = average_pool(jnp.asarray(x), 4)
    assert result.shape == (2, 2, 2, 3)
    np.testing.assert_allclose(
        result[:, 1, 0], x[:, 4:8, :4].mean(axis=(1, 2)), rtol=1e-6, atol=1e-7
    )


def test_resize_nearest_takes_the_nearest_sample():
    coarse = jnp.arange(2.0)[None, :, None, None] * 10 + jnp.arange(5.0)[None, None, :, None]
    fine = resize_nearest(coarse, 11, 11)[0, :, :, 0]
    rows = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1])
    columns = np.array([0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4])
    np.testing.assert_array_equal(fine, rows[:, None] * 10 + columns)


def test_the_gradient_of_resize_nearest_counts_copies():
    gradient = jax.grad(lambda x: resize_nearest(x, 5, 4).sum())(jnp.zeros((1, 2, 2, 1)))
    np.testing.assert_array_equal(gradient[0, :, :, 0], [[6, 6], [4, 4]])
