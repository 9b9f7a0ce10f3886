"""Resampling of maps to finer and coarser grids.

The pooling functions stand in for `nnx.max_pool` and `nnx.avg_pool`, whose gradients take up to
thirty times longer on a CPU (64 maps of 11×11).
"""

from functools import lru_cache, reduce
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from distax.models.layers.basic import Conv, Maps

# Coefficient of the cubic kernel in PyTorch's and OpenCV's bicubic interpolation. JAX's is −0.5.
_CUBIC = -0.75


def pixel_shuffle(maps: Maps, factor: int) -> Float[Array, "B fine_height fine_width outputs"]:
    """Moves channels to nodes: channel (c·factor + i)·factor + j is node (i, j) of output c."""
    batch, height, width, channels = maps.shape
    outputs = channels // factor**2
    nodes = maps.reshape(batch, height, width, outputs, factor, factor)
    fine = nodes.transpose(0, 1, 4, 2, 5, 3)
    return fine.reshape(batch, factor * height, factor * width, outputs)


def pixel_unshuffle(
    maps: Maps, factor: int
) -> Float[Array, "B coarse_height coarse_width outputs"]:
    """Moves nodes to channels: the inverse of `pixel_shuffle`."""
    batch, height, width, channels = maps.shape
    height, width = height // factor, width // factor
    nodes = maps.reshape(batch, height, factor, width, factor, channels)
    return nodes.transpose(0, 1, 3, 5, 2, 4).reshape(batch, height, width, channels * factor**2)


def upsample(
    maps: Maps, factor: int, method: Literal["nearest", "bilinear", "bicubic"]
) -> Float[Array, "B fine_height fine_width channels"]:
    """Interpolates maps to a grid `factor` times finer; half-pixel centres, clamped borders."""
    if method == "nearest":
        return jnp.repeat(jnp.repeat(maps, factor, axis=1), factor, axis=2)
    if method == "bicubic":
        rows, columns = (_cubic_weights(size, factor) for size in maps.shape[1:3])
        return jnp.einsum("bhwc,Hh,Ww->bHWc", maps, rows, columns)
    return resize_bilinear(maps, factor * maps.shape[1], factor * maps.shape[2])


def resize_bilinear(
    maps: Maps, height: int, width: int
) -> Float[Array, "B {height} {width} channels"]:
    """Interpolates maps to a size no smaller; half-pixel centres, clamped borders."""
    shape = len(maps), height, width, maps.shape[-1]
    return jax.image.resize(maps, shape, "bilinear", antialias=False)


@lru_cache
def _cubic_weights(size: int, factor: int) -> Float[np.ndarray, "fine size"]:
    """Returns the bicubic weights: row k holds those of all samples in fine sample k."""
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
    """Sub-pixel convolution: a 3×3 convolution to one channel per node, then the pixel shuffle.

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
    """Tail of a super-resolution network: from feature maps to one map on the sub-pixel grid."""

    def __init__(self, channels: int, factor: int, *, rngs: nnx.Rngs):
        self.upscale = SubPixel(channels, channels, factor, rngs=rngs)
        self.last = Conv(channels, 1, rngs=rngs)

    def __call__(self, maps: Maps) -> Float[Array, "B fine_height fine_width"]:
        return self.last(self.upscale(maps))[..., 0]


def max_pool(maps: Maps, size: int, stride: int) -> Float[Array, "B out_height out_width channels"]:
    """Takes the maximum of every `size`×`size` window, `stride` apart; drops incomplete windows."""
    rows, columns = ((side - size) // stride * stride + 1 for side in maps.shape[1:3])
    return reduce(
        jnp.maximum,
        [
            maps[:, i : i + rows : stride, j : j + columns : stride]
            for i in range(size)
            for j in range(size)
        ],
    )


def average_pool(maps: Maps, size: int) -> Float[Array, "B out_height out_width channels"]:
    """Takes the mean of every `size`×`size` cell; drops incomplete cells."""
    height, width = (side // size for side in maps.shape[1:3])
    cells = maps[:, : height * size, : width * size]
    return cells.reshape(len(maps), height, size, width, size, -1).mean(axis=(2, 4))


def resize_nearest(
    maps: Maps, height: int, width: int
) -> Float[Array, "B {height} {width} channels"]:
    """Resizes maps by nearest samples: row i of n is row ⌊i·N/n⌋ of N, likewise for columns."""
    for axis, size in ((1, height), (2, width)):
        maps = jnp.take(maps, np.arange(size) * maps.shape[axis] // size, axis=axis)
    return maps
