"""Residual blocks and the channel attention in them."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from distax.models.layers.basic import Affine, Conv, Maps
from distax.models.layers.sizes import check_multiple


class ConvPair(nnx.Module):
    """conv(ReLU(conv(x)))."""

    def __init__(self, channels: int, size: int = 3, *, bias: bool = True, rngs: nnx.Rngs):
        self.first = Conv(channels, channels, size, bias=bias, rngs=rngs)
        self.second = Conv(channels, channels, size, bias=bias, rngs=rngs)

    def __call__(self, x: Maps) -> Maps:
        return self.second(jax.nn.relu(self.first(x)))


class ResidualBlock(ConvPair):
    """x + conv(ReLU(conv(x)))."""

    def __call__(self, x: Maps) -> Maps:
        return x + super().__call__(x)


class Gate(nnx.Module):
    """A weight in 0..1 for each channel from a number for each: two layers, then the sigmoid.

    Args:
      channels: numbers taken and weights made.
      reduction: how many times fewer numbers lie between the layers.
      rngs: keys for the initial parameters.

    Raises:
      DistaxError: channels are not a multiple of the reduction.
    """

    def __init__(self, channels: int, reduction: int, *, rngs: nnx.Rngs):
        check_multiple(reduction, channels=channels)
        self.squeeze = Affine(channels, channels // reduction, rngs=rngs)
        self.excite = Affine(channels // reduction, channels, rngs=rngs)

    def __call__(self, x: Float[Array, "*batch channels"]) -> Float[Array, "*batch channels"]:
        return jax.nn.sigmoid(self.excite(jax.nn.relu(self.squeeze(x))))


class AttentionBlock(ConvPair):
    """x + conv(ReLU(conv(x))) with the second term weighted by channel.

    Channel attention: each channel's weight comes from the means of all (RCAN, ECCV 2018,
    section 3.3).
    """

    def __init__(self, channels: int, reduction: int, *, rngs: nnx.Rngs):
        super().__init__(channels, rngs=rngs)
        self.gate = Gate(channels, reduction, rngs=rngs)

    def __call__(self, x: Maps) -> Maps:
        maps = super().__call__(x)
        return x + maps * self.gate(jnp.mean(maps, axis=(1, 2), keepdims=True))


class ResidualGroup(nnx.Module):
    """Attention blocks and a convolution, with a skip around all (RCAN, section 3.2)."""

    def __init__(self, channels: int, blocks: int, reduction: int, *, rngs: nnx.Rngs):
        self.blocks = nnx.List(
            AttentionBlock(channels, reduction, rngs=rngs) for _ in range(blocks)
        )
        self.last = Conv(channels, channels, rngs=rngs)

    def __call__(self, x: Maps) -> Maps:
        maps = x
        for block in self.blocks:
            maps = block(maps)
        return x + self.last(maps)
