"""Deformable convolution (Dai et al., "Deformable Convolutional Networks", ICCV 2017)."""

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from distax.models.layers.basic import Conv, Maps, cast_like, check_multiple, fan_in_uniform
from distax.models.layers.precision import MapLayer


def deform_convolve(
    maps: Float[Array, "B height width inputs"],
    offsets: Float[Array, "B height width shifts"],
    kernel: Float[Array, "size size inputs outputs"],
) -> Float[Array, "B height width outputs"]:
    """Convolves maps at displaced points.

    The output at a pixel p is Σ_k W_k · x(p + p_k + Δ_k(p)): tap k of the kernel reads the maps at
    its usual place p + p_k, displaced by the offset Δ_k(p) of that pixel (equation 2). Between
    pixels the maps are interpolated bilinearly (equations 3 and 4). Pixels outside of the maps
    count as zero.

    Args:
      maps: the maps; their channels are divided into equal groups with offsets of their own.
      offsets: displacements in pixels. A pixel has `groups · size² · 2` numbers: by group, then by
        tap in row-major order, then row and column. The number of groups follows from the shape.
      kernel: the kernel, with an odd size.

    Raises:
      DistaxError: the offsets do not divide into groups of taps, or the channels into groups.
    """
    batch, height, width, inputs = maps.shape
    taps = len(kernel) ** 2
    check_multiple(2 * taps, offsets=offsets.shape[-1])
    groups = offsets.shape[-1] // (2 * taps)
    check_multiple(groups, channels=inputs)
    # A half-precision number holds a place in the maps to an eighth of a pixel only.
    moved = offsets.reshape(batch, height, width, groups, taps, 2)
    moved = moved.astype(jnp.promote_types(offsets.dtype, jnp.float32))
    usual = jnp.asarray(_usual_places(height, width, len(kernel)))[:, :, None]
    values = _interpolate(maps.reshape(batch, height, width, groups, -1), usual + moved)
    # Channels of a tap lie group after group, as those of the kernel do.
    columns = jnp.swapaxes(values, 3, 4).reshape(batch, height, width, taps * inputs)
    return columns @ kernel.reshape(taps * inputs, -1)


def _usual_places(height: int, width: int, size: int) -> Float[np.ndarray, "height width taps 2"]:
    """Returns row and column of the pixel that each tap reads without an offset."""
    pixel = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), axis=-1)
    reach = np.arange(size) - size // 2
    tap = np.stack(np.meshgrid(reach, reach, indexing="ij"), axis=-1).reshape(-1, 2)
    places = pixel[:, :, None] + tap
    return places.astype(np.float32)


def _interpolate(
    maps: Float[Array, "B height width groups channels"],
    place: Float[Array, "B height width groups taps 2"],
) -> Float[Array, "B height width groups taps channels"]:
    """Interpolates each group of maps bilinearly at its own places; zero outside of the maps."""
    batch, height, width, groups, channels = maps.shape
    # Four copies side by side, so that one row holds the four pixels around a place: one gather of
    # long rows takes half the time of four, and so does its gradient. The border of zeros is wide
    # enough for every place, as beyond it all places are alike.
    padded = jnp.pad(maps, ((0, 0), (1, 2), (1, 2), (0, 0), (0, 0)))
    high, wide = height + 2, width + 2
    corners = [padded[:, i : i + high, j : j + wide] for i in range(2) for j in range(2)]
    rows = jnp.concatenate(corners, axis=-1).reshape(-1, 4 * channels)
    place = jnp.clip(place, -1, jnp.array([height, width], place.dtype))
    first = jnp.floor(place)
    row, column = jnp.moveaxis(first.astype(jnp.int32) + 1, -1, 0)
    image = jnp.arange(batch)[:, None, None, None, None]
    index = ((image * high + row) * wide + column) * groups + jnp.arange(groups)[:, None]
    values = rows.at[index].get(mode="clip").reshape(*index.shape, 2, 2, channels)
    share = (place - first).astype(maps.dtype)
    down, right = share[..., 0, None, None], share[..., 1, None]
    between = values[..., 0, :, :] * (1 - down) + values[..., 1, :, :] * down
    return between[..., 0, :] * (1 - right) + between[..., 1, :] * right


class DeformConv(MapLayer):
    """Deformable 3×3 convolution without a constant, whose offsets a convolution computes.

    The offsets are zero at first, so that a new layer is a usual convolution.

    Args:
      inputs: channels in.
      outputs: channels out.
      groups: equal parts of the channels, each with offsets of its own.
      rngs: keys for the initial parameters.

    Raises:
      DistaxError: the channels are not a multiple of the groups.
    """

    def __init__(self, inputs: int, outputs: int, *, groups: int = 1, rngs: nnx.Rngs):
        check_multiple(groups, channels=inputs)
        self.kernel = fan_in_uniform(rngs, 9 * inputs, 3, 3, inputs, outputs)
        self.offset = Conv(inputs, groups * 18, rngs=rngs)
        self.offset.kernel[...] = jnp.zeros_like(self.offset.kernel[...])
        assert self.offset.bias is not None
        self.offset.bias[...] = jnp.zeros_like(self.offset.bias[...])

    def __call__(
        self, maps: Maps, guide: Maps | None = None
    ) -> Float[Array, "B height width outputs"]:
        """Convolves maps.

        Args:
          maps: the maps.
          guide: maps of as many channels that the offsets are computed from. Default: the maps.
        """
        maps = self.enter(maps)
        offsets = self.offset(maps if guide is None else guide)
        return deform_convolve(maps, offsets, cast_like(self.kernel, maps))
