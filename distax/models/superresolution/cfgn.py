"""CFGN: lightweight context-feature-guided network for image super-resolution (IEEE, 2023)."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from distax.imaging.sensor import Sensor
from distax.models.base import GridModel
from distax.models.layers.basic import Affine, Conv, Maps, check_multiple
from distax.models.layers.resampling import SubPixel
from distax.models.registry import register
from distax.runtime.errors import check_positive

# Ratio of the channels to the hidden width of the channel attention, as in the original.
_REDUCTION = 8
# Keeps the gradient of a standard deviation of zero finite.
_TINY = 1e-12

_leaky_relu = partial(jax.nn.leaky_relu, negative_slope=0.05)


class ContrastAttention(nnx.Module):
    """Channel attention from the standard deviation plus the mean of each channel."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        self.squeeze = Affine(channels, channels // _REDUCTION, rngs=rngs)
        self.excite = Affine(channels // _REDUCTION, channels, rngs=rngs)

    def __call__(self, maps: Maps) -> Maps:
        mean = jnp.mean(maps, axis=(1, 2), keepdims=True)
        variance = jnp.mean((maps - mean) ** 2, axis=(1, 2), keepdims=True)
        contrast = jnp.sqrt(variance + _TINY) + mean
        return maps * jax.nn.sigmoid(self.excite(_leaky_relu(self.squeeze(contrast))))


class MainBlock(nnx.Module):
    """Three convolutions with skip connections, each step distilled to half its channels and fused.

    1×1 convolutions distil the input and the outputs of the first two steps, a 3×3 convolution
    distils the last.
    """

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        self.steps = nnx.List(Conv(channels, channels, rngs=rngs) for _ in range(3))
        self.distill = nnx.List(Affine(channels, channels // 2, rngs=rngs) for _ in range(3))
        self.distill_last = Conv(channels, channels // 2, rngs=rngs)
        self.fuse = Affine(2 * channels, channels, rngs=rngs)
        self.attention = ContrastAttention(channels, rngs=rngs)

    def __call__(self, x: Maps) -> Maps:
        maps, distilled = x, []
        for step, distill in zip(self.steps, self.distill, strict=True):
            distilled.append(distill(maps))
            maps = _leaky_relu(step(maps) + maps)
        distilled.append(self.distill_last(maps))
        fused = _leaky_relu(self.fuse(jnp.concatenate(distilled, axis=-1)))
        return x + self.attention(fused)


@register("cfgn")
class Cfgn(GridModel):
    """CFGN: lightweight context-feature-guided network for super-resolution (IEEE, 2023).

    This is the network with its plain blocks: it fuses all features on the coarse grid, then
    applies the pixel shuffle.

    Args:
      factor: grid nodes per pixel along each axis, odd.
      channels: number of maps between the blocks, a multiple of 8.
      blocks: number of main blocks.
      sensor: the sensor whose images the model takes.
      rngs: keys for the initial parameters.

    Raises:
      DistaxError: the factor is even, a size is not positive, or the channels are not a multiple of
        8.
    """

    def __init__(
        self,
        *,
        factor: int = 3,
        channels: int = 48,
        blocks: int = 6,
        sensor: Sensor = Sensor(),
        rngs: nnx.Rngs,
    ):
        super().__init__(factor, sensor)
        check_positive(channels=channels, blocks=blocks)
        check_multiple(_REDUCTION, channels=channels)
        self.head = Conv(1, channels, rngs=rngs)
        self.blocks = nnx.List(MainBlock(channels, rngs=rngs) for _ in range(blocks))
        self.fuse = Affine((blocks + 1) * channels, channels, rngs=rngs)
        self.last = Conv(channels, channels, rngs=rngs)
        self.upscale = SubPixel(channels, 1, factor, rngs=rngs)

    def __call__(
        self, images: Float[Array, "B height width"]
    ) -> Float[Array, "B fine_height fine_width"]:
        features = [self.head(images[..., None])]
        for block in self.blocks:
            features.append(block(features[-1]))
        fused = _leaky_relu(self.fuse(jnp.concatenate(features, axis=-1)))
        return self.upscale(features[0] + self.last(fused))[..., 0].astype(images.dtype)
