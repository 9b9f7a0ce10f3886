"""Layers of back-projection networks, each followed by a PReLU."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from distax.models.layers.basic import Affine, Maps, PRelu


def activated(layer: nnx.Module, rngs: nnx.Rngs) -> nnx.Sequential:
    """A layer, then a PReLU with one slope for all channels."""
    return nnx.Sequential(layer, PRelu(rngs=rngs))


class Merge(nnx.Module):
    """One set of maps from all so far: a 1×1 convolution, or the first itself if it is alone.

    Args:
      channels: of each set of maps.
      most: sets there will be at the end; each number of them has a convolution of its own.
      rngs: keys for the initial parameters.
    """

    def __init__(self, channels: int, most: int, *, rngs: nnx.Rngs):
        self.layers = nnx.List(
            activated(Affine(count * channels, channels, rngs=rngs), rngs)
            for count in range(2, most + 1)
        )

    def __call__(self, maps: list[Maps]) -> Float[Array, "B height width outputs"]:
        if len(maps) == 1:
            return maps[0]
        return self.layers[len(maps) - 2](jnp.concatenate(maps, axis=-1))
