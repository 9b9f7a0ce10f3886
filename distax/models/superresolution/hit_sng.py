"""HiT-SNG: hierarchical transformer with N-gram context (Zhang, Zhang and Yu, ECCV 2024)."""

from collections.abc import Sequence

from flax import nnx
from jaxtyping import Array, Float

from distax.imaging.sensor import Sensor
from distax.models.base import GridModel
from distax.models.layers.basic import Conv, FeedForward, LayerNorm, Maps, check_multiple
from distax.models.layers.resampling import SubPixel
from distax.models.registry import register
from distax.models.superresolution.correlation import Correlation
from distax.runtime.errors import DistaxError, check_positive


class Block(nnx.Module):
    """Correlation within windows of one side, then a feed-forward network.

    Each is normalised and then added to its input.
    """

    def __init__(self, channels: int, side: int, heads: int, rngs: nnx.Rngs):
        self.correlation = Correlation(channels, side, heads, rngs)
        self.correlation_norm = LayerNorm(channels, rngs=rngs)
        self.feed_forward = FeedForward(channels, 2 * channels, channels, rngs=rngs)
        self.feed_forward_norm = LayerNorm(channels, rngs=rngs)

    def __call__(self, maps: Maps) -> Maps:
        maps = maps + self.correlation_norm(self.correlation(maps))
        return maps + self.feed_forward_norm(self.feed_forward(maps))


class Layer(nnx.Module):
    """Blocks with windows of growing sides and a convolution, with a skip connection around all."""

    def __init__(self, channels: int, windows: Sequence[int], heads: int, rngs: nnx.Rngs):
        self.blocks = nnx.List(Block(channels, side, heads, rngs) for side in windows)
        self.last = Conv(channels, channels, rngs=rngs)

    def __call__(self, maps: Maps) -> Maps:
        x = maps
        for block in self.blocks:
            x = block(x)
        return maps + self.last(x)


@register("hit_sng")
class HitSng(GridModel):
    """HiT-SNG: hierarchical transformer with N-gram context (Zhang, Zhang and Yu, ECCV 2024).

    Windows grow from block to block, and the windows of a block exchange an N-gram context (Choi,
    Lee and Yang, CVPR 2023). In a window, positions are correlated with a reduced set of positions,
    and channels with channels, without a softmax. Images are padded by reflection to twice the side
    of a window. The defaults are the sizes of the table of CSIST-100K (arXiv 2505.19148).

    Args:
      factor: grid nodes per pixel along each axis, odd.
      channels: number of feature maps, even. With fewer than 48 the network of the position bias
        has a width of 2 or less, which its normalisation makes useless.
      layers: number of layers.
      windows: side of the windows of each block of a layer, in pixels, 1 or even.
      heads: number of heads, which divides half the channels.
      sensor: the sensor whose images the model takes.
      rngs: keys for the initial parameters.

    Raises:
      DistaxError: the factor is even, a size is not positive, a window is odd, or the channels are
        too few or not a multiple of twice the heads.
    """

    def __init__(
        self,
        *,
        factor: int = 3,
        channels: int = 60,
        layers: int = 4,
        windows: Sequence[int] = (1, 2, 4, 8, 12, 16),
        heads: int = 6,
        sensor: Sensor = Sensor(),
        rngs: nnx.Rngs,
    ):
        super().__init__(factor, sensor)
        check_positive(layers=layers, heads=heads, blocks=len(windows))
        check_multiple(2 * heads, channels=channels)
        if channels < 16:
            raise DistaxError(f"channels must be at least 16, got {channels}")
        for side in windows:
            if side != 1 and (side < 1 or side % 2):
                raise DistaxError(f"windows must be 1 or even, got {side}")
        self.head = Conv(1, channels, rngs=rngs)
        self.first_norm = LayerNorm(channels, rngs=rngs)
        self.layers = nnx.List(Layer(channels, windows, heads, rngs) for _ in range(layers))
        self.last_norm = LayerNorm(channels, rngs=rngs)
        self.last = Conv(channels, channels, rngs=rngs)
        self.upscale = SubPixel(channels, 1, factor, rngs=rngs)

    def features(self, maps: Maps) -> list[Maps]:
        """Returns the normalised maps of the head, and the maps after every layer."""
        features = [self.first_norm(maps)]
        for layer in self.layers:
            features.append(layer(features[-1]))
        return features

    def __call__(
        self, images: Float[Array, "B height width"]
    ) -> Float[Array, "B fine_height fine_width"]:
        head = self.head(images[..., None])
        maps = self.last(self.last_norm(self.features(head)[-1]))
        return self.upscale(maps + head)[..., 0].astype(images.dtype)
