import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.ndimage import correlate

from distax.models.superresolution.egasr import Edges, wide_filter

SOBEL = [[1, 0, -1], [2, 0, -2], [1, 0, -1]], [[1, 2, 1], [0, 0, 0], [-1, -2, -1]]
LAPLACIAN = [[0, 1, 0], [1, -4, 1], [0, 1, 0]]


def random(*shape):
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(("height", "width", "size"), [(11, 11, 7), (3, 5, 7), (6, 4, 3)])
def test_wide_filter(height, width, size):
    maps, kernel = random(2, height, width, 2), random(size, size, 2, 1)
    expected = [
        sum(correlate(sample[..., c], kernel[..., c, 0], mode="constant") for c in range(2))
        for sample in maps
    ]
    result = jax.jit(wide_filter)(jnp.asarray(maps), jnp.asarray(kernel))
    np.testing.assert_allclose(result[..., 0], expected, rtol=0, atol=2e-5)


def test_edges_are_what_its_steps_make():
    """The steps: a 1×1 convolution and a template each, then a 1×1 convolution of all three."""
    edges = Edges(4, nnx.Rngs(0))
    maps = random(2, 6, 7, 4)
    found = []
    for kind, template in zip(edges.filters, (*SOBEL, LAPLACIAN), strict=True):
        mixed = maps @ np.asarray(kind.mix[...])
        filtered = correlate(
            mixed, np.array(template, np.float32)[None, :, :, None], mode="constant"
        )
        found.append(filtered * np.asarray(kind.scale[...]) + np.asarray(kind.bias[...]))
    expected = edges.merge(jnp.concatenate(found, axis=-1))
    np.testing.assert_allclose(edges(jnp.asarray(maps)), expected, rtol=0, atol=1e-6)
