import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from distax.models.layers.backprojection import ProjectDown, ProjectUp


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
    """Transposed convolution: adds scaled kernels on the fine grid, then cuts 2 per border."""
    size = len(kernel)
    batch, height, width, _ = maps.shape
    result = np.zeros((batch, factor * height + 4, factor * width + 4, kernel.shape[-1]))
    for i in range(height):
        for j in range(width):
            spot = result[:, factor * i : factor * i + size, factor * j : factor * j + size]
            spot += np.einsum("bc,klcd->bkld", maps[:, i, j], kernel)
    return result[:, 2:-2, 2:-2]


@pytest.mark.parametrize("factor", [1, 3, 5, 7])
@pytest.mark.parametrize(("kind", "naive"), [(ProjectDown, naive_down), (ProjectUp, naive_up)])
def test_projections_are_strided_and_transposed_convolutions(kind, naive, factor):
    layer = kind(2, 3, factor, rngs=nnx.Rngs(0))
    side = factor if kind is ProjectDown else 1
    shape = 2, 3 * side, 4 * side, 2
    maps = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    expected = naive(maps, np.asarray(layer.kernel[...]), factor) + np.asarray(layer.bias[...])
    tolerance = 1e-5 * np.abs(expected).max()
    np.testing.assert_allclose(jax.jit(layer)(jnp.asarray(maps)), expected, rtol=0, atol=tolerance)
