"""CTNet: a contextual transformation network (Wang et al., IEEE TGRS 2022)."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from distax.imaging.sensor import Sensor
from distax.models.base import GridModel
from distax.models.layers.basic import Affine, Conv, Maps, check_multiple, check_side
from distax.models.layers.resampling import (
    average_pool,
    max_pool,
    resize_bilinear,
    resize_nearest,
    upsample,
)
from distax.models.registry import register
from distax.runtime.errors import check_positive


class TransformationLayer(nnx.Module):
    """Replacement of a 3×3 convolution that derives half of its outputs from the other half.

    The first half are 1×1 convolutions, weighted by their context. The second half are depthwise
    3×3 convolutions of the first. A 1×1 convolution of the input is added.
    """

    def __init__(self, inputs: int, outputs: int, *, rectified: bool, rngs: nnx.Rngs):
        half = outputs // 2
        self.rectified = rectified
        self.local = Affine(inputs, half, bias=False, rngs=rngs)
        self.context = Affine(inputs, half, bias=False, rngs=rngs)
        self.derive = Conv(half, half, groups=half, bias=False, rngs=rngs)
        self.skip = Affine(inputs, outputs, bias=False, rngs=rngs)

    def __call__(self, x: Maps) -> Float[Array, "B height width outputs"]:
        local = self.local(x)
        context = resize_nearest(self.context(average_pool(x, 2)), *x.shape[1:3])
        half = self._activate(local * jax.nn.sigmoid(local + context))
        rest = self._activate(self.derive(half))
        return jnp.concatenate([half, rest], axis=-1) + self._activate(self.skip(x))

    def _activate(self, maps: Maps) -> Maps:
        return jax.nn.relu(maps) if self.rectified else maps


class TransformationBlock(nnx.Module):
    """Residual block of two transformation layers, with half the channels between them."""

    def __init__(self, channels: int, rngs: nnx.Rngs):
        half = channels // 2
        self.first = TransformationLayer(channels, half, rectified=True, rngs=rngs)
        self.second = TransformationLayer(half, channels, rectified=False, rngs=rngs)

    def __call__(self, x: Maps) -> Maps:
        return x + self.second(self.first(x))


class ContextEnhancement(nnx.Module):
    """Attention by position and channel, computed from maps on a coarse grid."""

    def __init__(self, channels: int, rngs: nnx.Rngs):
        inner = channels // 4
        self.reduce = Affine(channels, inner, rngs=rngs)
        self.shrink = Conv(inner, inner, stride=2, padding=0, rngs=rngs)
        self.first = Conv(inner, inner, rngs=rngs)
        self.second = Conv(inner, inner, rngs=rngs)
        self.third = Conv(inner, inner, rngs=rngs)
        self.skip = Affine(inner, inner, rngs=rngs)
        self.expand = Affine(inner, channels, rngs=rngs)

    def __call__(self, x: Maps) -> Maps:
        reduced = self.reduce(x)
        coarse = jax.nn.relu(self.first(max_pool(self.shrink(reduced), 3, 1)))
        coarse = self.third(jax.nn.relu(self.second(coarse)))
        context = resize_bilinear(coarse, *x.shape[1:3]) + self.skip(reduced)
        return x * jax.nn.sigmoid(self.expand(context))


class AttentionTail(nnx.Module):
    """Tail from feature maps to one map on the sub-pixel grid, with attention in between."""

    def __init__(self, channels: int, inner: int, factor: int, rngs: nnx.Rngs):
        self.factor = factor
        self.first = Conv(channels, inner, rngs=rngs)
        self.attention = Affine(inner, inner, rngs=rngs)
        self.second = Conv(inner, inner, rngs=rngs)
        self.last = Conv(inner, 1, rngs=rngs)

    def __call__(self, maps: Maps) -> Float[Array, "B fine_height fine_width 1"]:
        fine = self.first(upsample(maps, self.factor, "nearest"))
        fine = jax.nn.leaky_relu(fine * jax.nn.sigmoid(self.attention(fine)), 0.2)
        return self.last(jax.nn.leaky_relu(self.second(fine), 0.2))


@register("ctnet")
class CtNet(GridModel):
    """CTNet: contextual transformation network (Wang et al., IEEE TGRS 2022).

    Each light block but the first follows a context enhancement. Some channels of every block are
    merged at the end. The network computes a correction to the image interpolated on the fine grid.

    Args:
      factor: grid nodes per pixel along each axis, odd.
      channels: number of feature maps, a multiple of 4.
      blocks: number of transformation blocks; the first has no enhancement before it.
      tail_channels: number of maps on the fine grid.
      skip_channels: number of maps of each block that are merged at the end.
      sensor: the sensor whose images the model takes, at least 7 pixels a side.
      rngs: keys for the initial parameters.

    Raises:
      DistaxError: the factor is even, a size is not positive, the channels are not a multiple of 4
        and of the skip channels, or the images have a smaller side.
    """

    def __init__(
        self,
        *,
        factor: int = 3,
        channels: int = 64,
        blocks: int = 16,
        tail_channels: int = 24,
        skip_channels: int = 4,
        sensor: Sensor = Sensor(),
        rngs: nnx.Rngs,
    ):
        super().__init__(factor, sensor)
        check_positive(
            channels=channels,
            blocks=blocks,
            tail_channels=tail_channels,
            skip_channels=skip_channels,
        )
        check_multiple(4, channels=channels)
        check_multiple(skip_channels, channels=channels)
        check_side(sensor, 7)
        self.head = Conv(1, channels, rngs=rngs)
        self.enhancements = nnx.List(ContextEnhancement(channels, rngs) for _ in range(blocks - 1))
        self.blocks = nnx.List(TransformationBlock(channels, rngs) for _ in range(blocks))
        self.skips = nnx.List(
            Conv(channels, skip_channels, groups=skip_channels, bias=False, rngs=rngs)
            for _ in range(blocks)
        )
        self.merge = Affine(blocks * skip_channels, channels, rngs=rngs)
        self.tail = AttentionTail(channels, tail_channels, factor, rngs)

    def __call__(
        self, images: Float[Array, "B height width"]
    ) -> Float[Array, "B fine_height fine_width"]:
        image = images[..., None]
        head = self.head(image)
        maps = self.blocks[0](head)
        skips = [self.skips[0](maps)]
        rest = zip(self.enhancements, self.blocks[1:], self.skips[1:], strict=True)
        for enhancement, block, skip in rest:
            maps = block(enhancement(maps))
            skips.append(skip(maps))
        merged = self.merge(jnp.concatenate(skips, axis=-1)) + head
        return (self.tail(merged) + upsample(image, self.factor, "bilinear"))[..., 0]
