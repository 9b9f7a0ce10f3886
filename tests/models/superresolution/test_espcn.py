import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from distax.models.superresolution.espcn import Espcn


def convolution(maps, layer):
    maps = jax.lax.conv_general_dilated(
        maps, layer.kernel[...], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return maps + layer.bias[...]


def test_each_channel_of_the_last_convolution_is_a_node():
    model = Espcn(factor=3, rngs=nnx.Rngs(0))
    images = 100 * jax.random.uniform(jax.random.key(1), (2, 11, 11))
    maps = jnp.tanh(convolution(images[..., None] / 255, model.first))
    maps = convolution(jnp.tanh(convolution(maps, model.second)), model.upscale.conv)
    output = jax.jit(model)(images)
    for i in range(3):
        for j in range(3):
            expected = 255 * maps[..., 3 * i + j]
            np.testing.assert_allclose(output[:, i::3, j::3], expected, rtol=0, atol=1e-3)
