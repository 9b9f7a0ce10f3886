"""Layers of back-projection networks: projections between two grids, and merged features."""

import math

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from distax.models.layers.basic import Affine, Maps, PRelu, cast_like, fan_in_uniform
from distax.models.layers.convolution import convolve
from distax.models.layers.resampling import pixel_shuffle, pixel_unshuffle


class Projection(nnx.Module):
    """Base class of the convolutions between the two grids of a back-projection network.

    The kernel has factor + 4 taps along each axis, and the stride is the factor. The convolution is
    computed as a small one on the coarse grid (3×3, or 5×5 for a factor of 1), with the nodes of
    each pixel as channels: XLA's strided and transposed convolutions are far slower on a CPU.
    """

    def __init__(self, inputs: int, outputs: int, factor: int, fan_in: int, rngs: nnx.Rngs):
        self.factor = factor
        size = factor + 4
        self.kernel = fan_in_uniform(rngs, fan_in, size, size, inputs, outputs)
        self.bias = fan_in_uniform(rngs, fan_in, outputs)

    def _on_coarse_grid(self, maps: Maps) -> Float[Array, "size f size f inputs outputs"]:
        """Returns the taps by coarse pixel, counted from the middle one, and by node in it."""
        factor = self.factor
        reach = math.ceil(2 / factor)  # coarse pixels that two nodes span
        size, missing = 2 * reach + 1, reach * factor - 2
        kernel = jnp.pad(cast_like(self.kernel, maps), 2 * ((missing, missing),) + 2 * ((0, 0),))
        return kernel.reshape(size, factor, size, factor, *kernel.shape[2:])


class ProjectDown(Projection):
    """Strided convolution from the fine to the coarse grid, with a padding of 2."""

    def __init__(self, inputs: int, outputs: int, factor: int, *, rngs: nnx.Rngs):
        super().__init__(inputs, outputs, factor, (factor + 4) ** 2 * inputs, rngs)

    def __call__(self, maps: Maps) -> Float[Array, "B coarse_height coarse_width outputs"]:
        taps = self._on_coarse_grid(maps).transpose(0, 2, 4, 1, 3, 5)
        kernel = taps.reshape(*taps.shape[:2], -1, taps.shape[-1])
        return convolve(pixel_unshuffle(maps, self.factor), kernel) + cast_like(self.bias, maps)


class ProjectUp(Projection):
    """Transposed convolution from the coarse to the fine grid, for a padding of 2."""

    def __init__(self, inputs: int, outputs: int, factor: int, *, rngs: nnx.Rngs):
        super().__init__(inputs, outputs, factor, (factor + 4) ** 2 * outputs, rngs)

    def __call__(self, maps: Maps) -> Float[Array, "B fine_height fine_width outputs"]:
        # The taps are reversed: the next coarse pixel reaches a node by the taps before the middle.
        taps = self._on_coarse_grid(maps)[::-1, :, ::-1].transpose(0, 2, 4, 5, 1, 3)
        kernel = taps.reshape(*taps.shape[:3], -1)
        return pixel_shuffle(convolve(maps, kernel), self.factor) + cast_like(self.bias, maps)


def with_prelu(layer: nnx.Module, rngs: nnx.Rngs) -> nnx.Sequential:
    """Appends a PReLU with one slope for all channels to a layer."""
    return nnx.Sequential(layer, PRelu(rngs=rngs))


class Merge(nnx.Module):
    """Merger of all maps so far into one set by a 1×1 convolution; a single set is returned as is.

    Args:
      channels: channels of each set of maps.
      most: largest number of sets; each number from 2 up has a convolution of its own.
      rngs: keys for the initial parameters.
    """

    def __init__(self, channels: int, most: int, *, rngs: nnx.Rngs):
        self.layers = nnx.List(
            with_prelu(Affine(count * channels, channels, rngs=rngs), rngs)
            for count in range(2, most + 1)
        )

    def __call__(self, maps: list[Maps]) -> Float[Array, "B height width outputs"]:
        if len(maps) == 1:
            return maps[0]
        return self.layers[len(maps) - 2](jnp.concatenate(maps, axis=-1))
