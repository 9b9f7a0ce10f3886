"""Generators: networks from images to the sub-pixel grid, of SRGAN and of ESRGAN."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from distax.models.layers.basic import Conv, Maps, OneMap
from distax.models.layers.resampling import SubPixel, upsample
from distax.models.layers.residual import ResidualBlock

Grids = Float[Array, "B fine_height fine_width 1"]

_SCALE = 0.2
"""Factor of the corrections that dense blocks and nested blocks add, as in ESRGAN's paper."""


class ResidualGenerator(nnx.Module):
    """Generator of SRGAN in the form without normalisation (MSRResNet).

    Residual blocks and the pixel shuffle correct the bilinear interpolation of the image.
    """

    def __init__(self, channels: int, blocks: int, factor: int, *, rngs: nnx.Rngs):
        self.factor = factor
        self.head = Conv(1, channels, rngs=rngs)
        self.blocks = nnx.List(ResidualBlock(channels, rngs=rngs) for _ in range(blocks))
        self.upscale = SubPixel(channels, channels, factor, rngs=rngs)
        self.refine = Conv(channels, channels, rngs=rngs)
        self.last = Conv(channels, 1, rngs=rngs)

    def __call__(self, image: OneMap) -> Grids:
        maps = jax.nn.leaky_relu(self.head(image), 0.1)
        for block in self.blocks:
            maps = block(maps)
        correction = self.last(jax.nn.leaky_relu(self.refine(self.upscale(maps)), 0.1))
        return correction.astype(image.dtype) + upsample(image, self.factor, "bilinear")


class DenseBlock(nnx.Module):
    """Dense block of five convolutions, whose scaled result is added to its input."""

    def __init__(self, channels: int, growth: int, rngs: nnx.Rngs):
        outputs = (growth, growth, growth, growth, channels)
        self.layers = nnx.List(
            Conv(channels + index * growth, count, rngs=rngs) for index, count in enumerate(outputs)
        )

    def __call__(self, x: Maps) -> Maps:
        *layers, last = self.layers
        maps = x
        for layer in layers:
            maps = jnp.concatenate([maps, jax.nn.leaky_relu(layer(maps), 0.2)], axis=-1)
        return x + _SCALE * last(maps)


class NestedBlock(nnx.Module):
    """Residual-in-residual dense block (RRDB): three dense blocks in a row.

    Their scaled result is added to the input.
    """

    def __init__(self, channels: int, growth: int, rngs: nnx.Rngs):
        self.parts = nnx.List(DenseBlock(channels, growth, rngs) for _ in range(3))

    def __call__(self, x: Maps) -> Maps:
        maps = x
        for part in self.parts:
            maps = part(maps)
        return x + _SCALE * maps


class DenseGenerator(nnx.Module):
    """Generator of ESRGAN and BSRGAN (RRDBNet), with one step to the sub-pixel grid.

    That step repeats the pixels' maps on the nodes. Convolutions then refine them.
    """

    def __init__(self, channels: int, growth: int, blocks: int, factor: int, *, rngs: nnx.Rngs):
        self.factor = factor
        self.head = Conv(1, channels, rngs=rngs)
        self.blocks = nnx.List(NestedBlock(channels, growth, rngs) for _ in range(blocks))
        self.trunk = Conv(channels, channels, rngs=rngs)
        self.fine = Conv(channels, channels, rngs=rngs)
        self.refine = Conv(channels, channels, rngs=rngs)
        self.last = Conv(channels, 1, rngs=rngs)

    def __call__(self, image: OneMap) -> Grids:
        head = self.head(image)
        maps = head
        for block in self.blocks:
            maps = block(maps)
        maps = upsample(head + self.trunk(maps), self.factor, "nearest")
        for layer in (self.fine, self.refine):
            maps = jax.nn.leaky_relu(layer(maps), 0.2)
        return self.last(maps).astype(image.dtype)
