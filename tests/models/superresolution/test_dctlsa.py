import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from distax.models.superresolution.dctlsa import LinearAttention


def test_each_head_attends_within_each_window():
    attention = LinearAttention(channels=6, heads=2, rngs=nnx.Rngs(0))
    maps = jax.random.normal(jax.random.key(1), (2, 16, 32, 6))
    queries, keys, values = np.split(np.asarray(attention.qkv(maps)), 3, axis=-1)
    mixed = np.zeros(maps.shape, np.float32)
    for window in (slice(0, 16), slice(16, 32)):
        for head in (slice(0, 3), slice(3, 6)):
            for image in range(2):
                q, k, v = (x[image, :, window, head] for x in (queries, keys, values))
                k = np.exp(k) / np.exp(k).sum((0, 1))
                context = np.einsum("ijd,ije->de", k, v) / np.sqrt(3)
                mixed[image, :, window, head] = q @ context
    expected = attention.out(jnp.asarray(mixed))
    np.testing.assert_allclose(attention(maps), expected, rtol=0, atol=1e-5)
