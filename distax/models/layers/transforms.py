"""Learned transforms of unfolded networks, and the shrinkage applied in them."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from distax.models.layers.basic import cast_like
from distax.models.layers.convolution import conv3x3

_glorot = nnx.initializers.glorot_normal()


class TwoConvolutions(nnx.Module):
    """Learned transform or inverse transform: conv3×3 → ReLU → conv3×3 without biases."""

    def __init__(self, inputs: int, hidden: int, outputs: int, rngs: nnx.Rngs):
        self.first = glorot_kernel(inputs, hidden, rngs)
        self.second = glorot_kernel(hidden, outputs, rngs)

    def __call__(
        self, maps: Float[Array, "B height width inputs"]
    ) -> Float[Array, "B height width outputs"]:
        hidden = jax.nn.relu(conv3x3(maps, cast_like(self.first, maps)))
        return conv3x3(hidden, cast_like(self.second, maps))


def glorot_kernel(inputs: int, outputs: int, rngs: nnx.Rngs) -> nnx.Param:
    """Draws a 3×3 kernel with Glorot's normal initialisation."""
    return nnx.Param(_glorot(rngs.params(), (3, 3, inputs, outputs)))


def soft_threshold(x: Float[Array, "*shape"], threshold: Float[Array, "..."]) -> Array:
    """Applies soft thresholding sign(x)·max(|x| − θ, 0), the proximal operator of θ‖x‖₁."""
    return jnp.sign(x) * jax.nn.relu(jnp.abs(x) - threshold)
