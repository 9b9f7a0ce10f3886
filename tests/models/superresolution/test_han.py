import jax.numpy as jnp
import numpy as np
from flax import nnx
from scipy.ndimage import correlate
from scipy.special import expit

from distax.models.superresolution.han import ChannelSpatialAttention, LayerAttention


def random(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_channel_and_position_are_filtered_together():
    attention = ChannelSpatialAttention(nnx.Rngs(0))
    kernel = np.asarray(attention.kernel[...])  # channel, row, column
    maps = random(2, 5, 6, 4)
    filtered = [correlate(s, kernel.transpose(1, 2, 0), mode="constant") for s in maps]
    expected = maps * (1 + 0.1 * expit(np.array(filtered) + np.asarray(attention.bias[...])))
    np.testing.assert_allclose(attention(jnp.asarray(maps)), expected, rtol=1e-5, atol=1e-6)


def test_unlike_layers_are_added():
    attention = LayerAttention()
    layers = 0.1 * random(2, 4, 4, 3, 2)
    np.testing.assert_array_equal(attention(jnp.asarray(layers)), layers)
    attention.gain[...] = jnp.array(0.5)
    rows = layers.transpose(0, 3, 1, 2, 4).reshape(2, 3, -1)
    weights = np.exp(-rows @ rows.transpose(0, 2, 1))
    weights /= weights.sum(axis=-1, keepdims=True)
    expected = (rows + 0.5 * weights @ rows).reshape(2, 3, 4, 4, 2).transpose(0, 2, 3, 1, 4)
    np.testing.assert_allclose(attention(jnp.asarray(layers)), expected, rtol=0, atol=1e-6)
