import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from distax.models.layers.resampling import (
    ProjectDown,
    ProjectUp,
    pixel_shuffle,
    pixel_unshuffle,
    upsample,
)

FACTORS = [1, 3, 5, 7]


def random(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def assert_close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def naive_down(maps, kernel, factor):
    """Strided convolution with a padding of 2, one output at a time."""
    size = len(kernel)
    padded = np.pad(maps, ((0, 0), (2, 2), (2, 2), (0, 0)))
    height, width = maps.shape[1] // factor, maps.shape[2] // factor
    result = np.zeros((len(maps), height, width, kernel.shape[-1]))
    for i in range(height):
        for j in range(width):
            window = padded[:, factor * i :, factor * j :][:, :size, :size]
            result[:, i, j] = np.einsum("bklc,klcd->bd", window, kernel)
    return result


def naive_up(maps, kernel, factor):
    """Each sample puts the kernel, times itself, on the fine grid; 2 are cut from each border."""
    size = len(kernel)
    batch, height, width, _ = maps.shape
    result = np.zeros((batch, factor * height + 4, factor * width + 4, kernel.shape[-1]))
    for i in range(height):
        for j in range(width):
            spot = result[:, factor * i : factor * i + size, factor * j : factor * j + size]
            spot += np.einsum("bc,klcd->bkld", maps[:, i, j], kernel)
    return result[:, 2:-2, 2:-2]


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize(("kind", "naive"), [(ProjectDown, naive_down), (ProjectUp, naive_up)])
def test_projections_are_strided_and_transposed_convolutions(kind, naive, factor):
    layer = kind(2, 3, factor, rngs=nnx.Rngs(0))
    side = factor if kind is ProjectDown else 1
    maps = random(2, 3 * side, 4 * side, 2)
    expected = naive(maps, np.asarray(layer.kernel[...]), factor) + np.asarray(layer.bias[...])
    assert_close(jax.jit(layer)(jnp.asarray(maps)), expected)


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
    """The cubic kernel with the coefficient −3/4."""
    x = abs(distance)
    if x <= 1:
        return 1.25 * x**3 - 2.25 * x**2 + 1
    return -0.75 * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


def triangle(distance):
    return max(0.0, 1 - abs(distance))


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize(("method", "kernel"), [("bicubic", cubic), ("bilinear", triangle)])
def test_interpolation(method, kernel, factor):
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
def test_nearest(factor):
    maps = random(2, 3, 4, 2)
    fine = upsample(jnp.asarray(maps), factor, "nearest")
    np.testing.assert_array_equal(fine, np.kron(maps, np.ones((1, factor, factor, 1))))
