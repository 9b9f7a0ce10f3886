"""Maps on finer and coarser grids."""

import math
from functools import lru_cache
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from distax.models.layers.basic import Conv, Maps, fan_in_uniform, like
from distax.models.layers.convolution import convolve

# The coefficient of the cubic kernel with which image toolkits of the field interpolate.
_CUBIC = -0.75


def pixel_shuffle(maps: Maps, factor: int) -> Float[Array, "B fine_height fine_width outputs"]:
    """Channels to nodes: channel (c·factor + i)·factor + j is node (i, j) of a pixel's output c."""
    batch, height, width, channels = maps.shape
    outputs = channels // factor**2
    nodes = maps.reshape(batch, height, width, outputs, factor, factor)
    fine = nodes.transpose(0, 1, 4, 2, 5, 3)
    return fine.reshape(batch, factor * height, factor * width, outputs)


def pixel_unshuffle(
    maps: Maps, factor: int
) -> Float[Array, "B coarse_height coarse_width outputs"]:
    """Nodes to channels: the inverse of `pixel_shuffle`."""
    batch, height, width, channels = maps.shape
    height, width = height // factor, width // factor
    nodes = maps.reshape(batch, height, factor, width, factor, channels)
    return nodes.transpose(0, 1, 3, 5, 2, 4).reshape(batch, height, width, channels * factor**2)


def upsample(
    maps: Maps, factor: int, method: Literal["nearest", "bilinear", "bicubic"]
) -> Float[Array, "B fine_height fine_width channels"]:
    """Interpolated maps, half-pixel centres, borders clamped."""
    if method == "nearest":
        return jnp.repeat(jnp.repeat(maps, factor, axis=1), factor, axis=2)
    if method == "bicubic":
        rows, columns = (_cubic_weights(size, factor) for size in maps.shape[1:3])
        return jnp.einsum("bhwc,Hh,Ww->bHWc", maps, rows, columns)
    return resize_bilinear(maps, factor * maps.shape[1], factor * maps.shape[2])


def resize_bilinear(
    maps: Maps, height: int, width: int
) -> Float[Array, "B {height} {width} channels"]:
    """Maps interpolated to another, not smaller, size; half-pixel centres, borders clamped."""
    shape = len(maps), height, width, maps.shape[-1]
    return jax.image.resize(maps, shape, "bilinear", antialias=False)


@lru_cache
def _cubic_weights(size: int, factor: int) -> Float[np.ndarray, "fine size"]:
    """Row k holds the weights of all samples in fine sample k."""
    centre = (np.arange(factor * size) + 0.5) / factor - 0.5
    weights = np.zeros((factor * size, size), np.float32)
    for offset in range(-1, 3):
        sample = np.floor(centre).astype(int) + offset
        distance = np.abs(centre - sample)
        near = ((_CUBIC + 2) * distance - (_CUBIC + 3)) * distance**2 + 1
        far = ((distance - 5) * distance + 8) * distance * _CUBIC - 4 * _CUBIC
        value = np.where(distance <= 1, near, far)
        np.add.at(weights, (np.arange(factor * size), np.clip(sample, 0, size - 1)), value)
    return weights


class SubPixel(nnx.Module):
    """A 3×3 convolution to the channels of all a pixel's nodes, then the pixel shuffle.

    Args:
      inputs: channels on the coarse grid.
      outputs: channels on the fine grid.
      factor: nodes per pixel along each axis.
      rngs: keys for the initial parameters.
    """

    def __init__(self, inputs: int, outputs: int, factor: int, *, rngs: nnx.Rngs):
        self.factor = factor
        self.conv = Conv(inputs, outputs * factor**2, rngs=rngs)

    def __call__(self, maps: Maps) -> Float[Array, "B fine_height fine_width outputs"]:
        return pixel_shuffle(self.conv(maps), self.factor)


class Tail(nnx.Module):
    """From feature maps of an image to one map on the sub-pixel grid."""

    def __init__(self, channels: int, factor: int, *, rngs: nnx.Rngs):
        self.upscale = SubPixel(channels, channels, factor, rngs=rngs)
        self.last = Conv(channels, 1, rngs=rngs)

    def __call__(self, maps: Maps) -> Float[Array, "B fine_height fine_width"]:
        return self.last(self.upscale(maps))[..., 0]


class Projection(nnx.Module):
    """What the convolutions between two grids of a back-projection network have in common.

    Their kernels have factor + 4 taps along each axis, their stride is the factor. Both are small
    convolutions on the coarse grid (3×3, or 5×5 for a factor of 1), from or to the nodes of each
    pixel as channels, which is how they are computed: XLA's strided and transposed convolutions
    are far slower on a CPU.
    """

    def __init__(self, inputs: int, outputs: int, factor: int, fan_in: int, rngs: nnx.Rngs):
        self.factor = factor
        size = factor + 4
        self.kernel = fan_in_uniform(rngs, fan_in, size, size, inputs, outputs)
        self.bias = fan_in_uniform(rngs, fan_in, outputs)

    def _on_coarse_grid(self, maps: Maps) -> Float[Array, "size f size f inputs outputs"]:
        """Taps by the pixel, seen from the middle one, and the node of the fine sample."""
        factor = self.factor
        reach = math.ceil(2 / factor)  # pixels that two nodes span
        size, missing = 2 * reach + 1, reach * factor - 2
        kernel = jnp.pad(like(maps, self.kernel), 2 * ((missing, missing),) + 2 * ((0, 0),))
        return kernel.reshape(size, factor, size, factor, *kernel.shape[2:])


class ProjectDown(Projection):
    """Strided convolution from the fine to the coarse grid: padding 2."""

    def __init__(self, inputs: int, outputs: int, factor: int, *, rngs: nnx.Rngs):
        super().__init__(inputs, outputs, factor, (factor + 4) ** 2 * inputs, rngs)

    def __call__(self, maps: Maps) -> Float[Array, "B coarse_height coarse_width outputs"]:
        taps = self._on_coarse_grid(maps).transpose(0, 2, 4, 1, 3, 5)
        kernel = taps.reshape(*taps.shape[:2], -1, taps.shape[-1])
        return convolve(pixel_unshuffle(maps, self.factor), kernel) + like(maps, self.bias)


class ProjectUp(Projection):
    """Transposed convolution from the coarse to the fine grid: the transpose of a padding of 2."""

    def __init__(self, inputs: int, outputs: int, factor: int, *, rngs: nnx.Rngs):
        super().__init__(inputs, outputs, factor, (factor + 4) ** 2 * outputs, rngs)

    def __call__(self, maps: Maps) -> Float[Array, "B fine_height fine_width outputs"]:
        # A fine sample sees the coarse one after its pixel through the taps before the middle.
        taps = self._on_coarse_grid(maps)[::-1, :, ::-1].transpose(0, 2, 4, 5, 1, 3)
        kernel = taps.reshape(*taps.shape[:3], -1)
        return pixel_shuffle(convolve(maps, kernel), self.factor) + like(maps, self.bias)
