"""EDSR: enhanced deep residual networks for super-resolution (Lim et al., CVPRW 2017)."""

from flax import nnx
from jaxtyping import Array, Float

from distax.imaging.sensor import Sensor
from distax.models.base import GridModel
from distax.models.layers.basic import Conv, OneMap
from distax.models.layers.resampling import Tail
from distax.models.layers.residual import ResidualBlock
from distax.models.registry import register
from distax.models.superresolution import FULL_SCALE
from distax.runtime.errors import check_positive


@register("edsr")
class Edsr(GridModel):
    """EDSR: enhanced deep residual network (Lim et al., CVPRW 2017).

    Residual blocks without normalisation on the coarse grid are followed by the pixel shuffle. The
    defaults are the paper's baseline. The paper's large network has 32 blocks of 256 channels and
    scales each residual term by 0.1; here the terms are not scaled. The paper subtracts the mean
    colour of its photographs. Here, as in the original toolkit, half the full scale is subtracted,
    so the zero padding around an image corresponds to 127.5 counts.

    Args:
      factor: grid nodes per pixel along each axis, odd.
      channels: number of maps in the residual blocks.
      blocks: number of residual blocks.
      sensor: the sensor whose images the model takes.
      rngs: keys for the initial parameters.

    Raises:
      DistaxError: the factor is even, or a size is not positive.
    """

    def __init__(
        self,
        *,
        factor: int = 3,
        channels: int = 64,
        blocks: int = 16,
        sensor: Sensor = Sensor(),
        rngs: nnx.Rngs,
    ):
        super().__init__(factor, sensor)
        check_positive(channels=channels, blocks=blocks)
        self.head = Conv(1, channels, rngs=rngs)
        self.blocks = nnx.List(ResidualBlock(channels, rngs=rngs) for _ in range(blocks))
        self.last = Conv(channels, channels, rngs=rngs)
        self.tail = Tail(channels, factor, rngs=rngs)

    def __call__(
        self, images: Float[Array, "B height width"]
    ) -> Float[Array, "B fine_height fine_width"]:
        return self.restore(images[..., None] - FULL_SCALE / 2) + FULL_SCALE / 2

    def restore(self, image: OneMap) -> Float[Array, "B fine_height fine_width"]:
        """Applies the network to images that are shifted or scaled already."""
        head = self.head(image)
        maps = head
        for block in self.blocks:
            maps = block(maps)
        return self.tail(head + self.last(maps)).astype(image.dtype)


@register("edsr_sequence")
class EdsrSequence(Edsr):
    """EDSR (Lim et al., CVPRW 2017) as in the table of SeqCSIST (arXiv 2507.09556).

    The network is that of `Edsr` with half the channels, and no shift: the image is multiplied by a
    scale before it, and the grids are divided by the scale after it. The original's scale of 255 is
    meant for images in 0..1, and its images are counts; the published score is that of `scale=255`.

    Args:
      factor: grid nodes per pixel along each axis, odd.
      channels: number of maps in the residual blocks.
      blocks: number of residual blocks.
      scale: what counts are multiplied by inside the network.
      sensor: the sensor whose images the model takes.
      rngs: keys for the initial parameters.

    Raises:
      DistaxError: the factor is even, or a size or the scale is not positive.
    """

    def __init__(
        self,
        *,
        factor: int = 3,
        channels: int = 32,
        blocks: int = 16,
        scale: float = 1.0,
        sensor: Sensor = Sensor(),
        rngs: nnx.Rngs,
    ):
        super().__init__(factor=factor, channels=channels, blocks=blocks, sensor=sensor, rngs=rngs)
        check_positive(scale=scale)
        self.scale = scale

    def __call__(
        self, images: Float[Array, "B height width"]
    ) -> Float[Array, "B fine_height fine_width"]:
        return self.restore(images[..., None] * self.scale) / self.scale
