"""Residual blocks and channel attention."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from distax.models.layers.basic import Affine, Conv, Maps, check_multiple


class ConvPair(nnx.Module):
    """Two convolutions: conv(ReLU(conv(x)))."""

    def __init__(self, channels: int, size: int = 3, *, bias: bool = True, rngs: nnx.Rngs):
        self.first = Conv(channels, channels, size, bias=bias, rngs=rngs)
        self.second = Conv(channels, channels, size, bias=bias, rngs=rngs)

    def __call__(self, x: Maps) -> Maps:
        return self.second(jax.nn.relu(self.first(x)))


class ResidualBlock(ConvPair):
    """Residual block: x + conv(ReLU(conv(x)))."""

    def __call__(self, x: Maps) -> Maps:
        return x + super().__call__(x)


class Gate(nnx.Module):
    """Gate of a channel attention: two layers and a sigmoid give each channel a weight in 0..1.

    Args:
      channels: number of inputs and of weights.
      reduction: ratio of the channels to the width between the two layers.
      rngs: keys for the initial parameters.

    Raises:
      DistaxError: the channels are not a multiple of the reduction.
    """

    def __init__(self, channels: int, reduction: int, *, rngs: nnx.Rngs):
        check_multiple(reduction, channels=channels)
        self.squeeze = Affine(channels, channels // reduction, rngs=rngs)
        self.excite = Affine(channels // reduction, channels, rngs=rngs)

    def __call__(self, x: Float[Array, "*batch channels"]) -> Float[Array, "*batch channels"]:
        return jax.nn.sigmoid(self.excite(jax.nn.relu(self.squeeze(x))))


class AttentionBlock(ConvPair):
    """Residual block with channel attention: x + w·conv(ReLU(conv(x))).

    A gate computes the weights w of the channels from the means of all channels (RCAN, ECCV 2018,
    section 3.3).
    """

    def __init__(self, channels: int, reduction: int, *, rngs: nnx.Rngs):
        super().__init__(channels, rngs=rngs)
        self.gate = Gate(channels, reduction, rngs=rngs)

    def __call__(self, x: Maps) -> Maps:
        maps = super().__call__(x)
        return x + maps * self.gate(jnp.mean(maps, axis=(1, 2), keepdims=True))


class ResidualGroup(nnx.Module):
    """Attention blocks and a convolution, with a skip connection around all (RCAN, section 3.2)."""

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
