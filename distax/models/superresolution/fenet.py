"""FENet: a frequency-based enhancement network (Behjati et al., IEEE Access 2022)."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from distax.imaging.sensor import Sensor
from distax.models.base import GridModel
from distax.models.layers.basic import Maps, cast_like, check_multiple, check_side, fan_in_uniform
from distax.models.layers.convolution import convolve
from distax.models.layers.precision import MapLayer
from distax.models.layers.resampling import average_pool, pixel_shuffle, resize_nearest, upsample
from distax.models.registry import register
from distax.runtime.errors import check_positive

# Side in pixels of the cells whose means are the low frequencies.
_CELL = 4


class NormalizedConv(MapLayer):
    """Convolution with weight normalisation: a learned norm per output scales the kernel."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int = 3,
        *,
        groups: int = 1,
        bias: bool = False,
        rngs: nnx.Rngs,
    ):
        self.groups = groups
        fan_in = size**2 * inputs // groups
        self.direction = fan_in_uniform(rngs, fan_in, size, size, inputs // groups, outputs)
        self.norm = nnx.Param(_norm(self.direction[...]))
        self.bias = fan_in_uniform(rngs, fan_in, outputs) if bias else None

    def __call__(self, maps: Maps) -> Float[Array, "B height width outputs"]:
        maps, direction = self.enter(maps), self.direction[...]
        kernel = direction * (self.norm[...] / _norm(direction))
        result = convolve(maps, kernel.astype(maps.dtype), groups=self.groups)
        return result if self.bias is None else result + cast_like(self.bias, maps)


def _norm(kernel: Float[Array, "size size inputs outputs"]) -> Float[Array, " outputs"]:
    return jnp.sqrt(jnp.sum(kernel**2, axis=(0, 1, 2)))


class HighFrequencyEnhancement(nnx.Module):
    """Enhancement conv(conv(x)·gate); the gate follows the difference of x from its cell means."""

    def __init__(self, channels: int, rngs: nnx.Rngs):
        self.gate = NormalizedConv(channels, channels, rngs=rngs)
        self.first = NormalizedConv(channels, channels, rngs=rngs)
        self.second = NormalizedConv(channels, channels, rngs=rngs)

    def __call__(self, x: Maps) -> Maps:
        high = x - resize_nearest(average_pool(x, _CELL), *x.shape[1:3])
        return self.second(self.first(x) * jax.nn.sigmoid(self.gate(high) + x))


class FrequencyBlock(nnx.Module):
    """Residual block that merges two paths: a convolution, and high-frequency enhancement."""

    def __init__(self, channels: int, rngs: nnx.Rngs):
        half = channels // 2
        self.plain_entry = NormalizedConv(channels, half, 1, rngs=rngs)
        self.plain = NormalizedConv(half, half, rngs=rngs)
        self.enhanced_entry = NormalizedConv(channels, half, 1, rngs=rngs)
        self.enhancement = HighFrequencyEnhancement(half, rngs)
        self.merge = NormalizedConv(channels, channels, 1, rngs=rngs)

    def __call__(self, x: Maps) -> Maps:
        plain = jax.nn.relu(self.plain(jax.nn.relu(self.plain_entry(x))))
        enhanced = jax.nn.relu(self.enhancement(jax.nn.relu(self.enhanced_entry(x))))
        return x + self.merge(jnp.concatenate([plain, enhanced], axis=-1))


@register("fenet")
class FeNet(GridModel):
    """FENet: frequency-based enhancement network (Behjati et al., IEEE Access 2022).

    The blocks treat high frequencies separately, and the maps of all blocks are merged at the end.
    The network computes a correction to the image interpolated on the fine grid. The low
    frequencies are averages over cells of 4×4 pixels; pixels beyond the last whole cell are left
    out.

    Args:
      factor: grid nodes per pixel along each axis, odd.
      channels: number of feature maps, even.
      blocks: number of frequency-based blocks.
      groups: number of groups of channels in the convolution to the fine grid.
      sensor: the sensor whose images the model takes, at least 4 pixels a side.
      rngs: keys for the initial parameters.

    Raises:
      DistaxError: the factor is even, a size is not positive, the channels are odd or not a
        multiple of the groups, or the images have a smaller side.
    """

    def __init__(
        self,
        *,
        factor: int = 3,
        channels: int = 64,
        blocks: int = 12,
        groups: int = 4,
        sensor: Sensor = Sensor(),
        rngs: nnx.Rngs,
    ):
        super().__init__(factor, sensor)
        check_positive(channels=channels, blocks=blocks, groups=groups)
        check_multiple(2, channels=channels)
        check_multiple(groups, channels=channels)
        check_side(sensor, _CELL)
        self.head = NormalizedConv(1, channels, bias=True, rngs=rngs)
        self.blocks = nnx.List(FrequencyBlock(channels, rngs) for _ in range(blocks))
        self.merge = NormalizedConv((blocks + 1) * channels, channels, 1, bias=True, rngs=rngs)
        fine = channels * factor**2
        self.upscale = NormalizedConv(channels, fine, groups=groups, bias=True, rngs=rngs)
        self.last = NormalizedConv(channels, 1, bias=True, rngs=rngs)

    def __call__(
        self, images: Float[Array, "B height width"]
    ) -> Float[Array, "B fine_height fine_width"]:
        image = images[..., None]
        layers = [self.head(image)]
        for block in self.blocks:
            layers.append(block(layers[-1]))
        maps = jax.nn.relu(self.merge(jnp.concatenate(layers, axis=-1))) + layers[-1]
        fine = pixel_shuffle(jax.nn.relu(self.upscale(maps)), self.factor)
        return (self.last(fine) + upsample(image, self.factor, "bicubic"))[..., 0]
