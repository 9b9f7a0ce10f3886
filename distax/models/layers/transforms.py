"""The learned transforms that unfolded networks shrink in."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from distax.models.layers.basic import like
from distax.models.layers.convolution import conv3x3

_glorot = nnx.initializers.glorot_normal()


class TwoConvolutions(nnx.Module):
    """conv3×3 → ReLU → conv3×3 without biases: a transform, or its inverse."""

    def __init__(self, inputs: int, hidden: int, outputs: int, rngs: nnx.Rngs):
        self.first = glorot_kernel(inputs, hidden, rngs)
        self.second = glorot_kernel(hidden, outputs, rngs)

    def __call__(
        self, maps: Float[Array, "B height width inputs"]
    ) -> Float[Array, "B height width outputs"]:
        hidden = jax.nn.relu(conv3x3(maps, like(maps, self.first)))
        return conv3x3(hidden, like(maps, self.second))


def glorot_kernel(inputs: int, outputs: int, rngs: nnx.Rngs) -> nnx.Param:
    """A 3×3 kernel with Glorot's initial values."""
    return nnx.Param(_glorot(rngs.params(), (3, 3, inputs, outputs)))


def soft_threshold(x: Float[Array, "*shape"], threshold: Float[Array, "..."]) -> Array:
    """sign(x)·max(|x| − θ, 0): the proximal operator of θ‖x‖₁."""
    return jnp.sign(x) * jax.nn.relu(jnp.abs(x) - threshold)
