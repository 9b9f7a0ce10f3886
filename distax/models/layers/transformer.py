"""What transformers are made of besides attention."""

import jax
from flax import nnx
from jaxtyping import Array, Float

from distax.models.layers.basic import Affine


class FeedForward(nnx.Module):
    """Two fully connected layers at each position with a GELU between them."""

    def __init__(self, inputs: int, hidden: int, outputs: int, *, rngs: nnx.Rngs):
        self.first = Affine(inputs, hidden, rngs=rngs)
        self.second = Affine(hidden, outputs, rngs=rngs)

    def __call__(self, x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch outputs"]:
        return self.second(jax.nn.gelu(self.first(x), approximate=False))
