"""RCAN: a very deep residual network with channel attention (Zhang et al., ECCV 2018)."""

from flax import nnx
from jaxtyping import Array, Float

from distax.imaging.sensor import Sensor
from distax.models.base import GridModel
from distax.models.layers.basic import Conv
from distax.models.layers.resampling import Tail
from distax.models.layers.residual import ResidualGroup
from distax.models.registry import register
from distax.runtime.errors import check_positive


@register("rcan")
class Rcan(GridModel):
    """RCAN: residual channel attention network (Zhang et al., ECCV 2018).

    Residual groups of blocks with channel attention are followed by the tail to the fine grid. The
    paper has 10 groups of 20 blocks of 64 channels; the defaults are those of the original toolkit.

    Args:
      factor: grid nodes per pixel along each axis, odd.
      channels: number of feature maps.
      groups: number of residual groups.
      blocks: number of attention blocks in each group.
      reduction: ratio of the channels to the hidden width of a channel attention.
      sensor: the sensor whose images the model takes.
      rngs: keys for the initial parameters.

    Raises:
      DistaxError: the factor is even, a size is not positive, or the channels are not a multiple of
        the reduction.
    """

    def __init__(
        self,
        *,
        factor: int = 3,
        channels: int = 32,
        groups: int = 5,
        blocks: int = 10,
        reduction: int = 8,
        sensor: Sensor = Sensor(),
        rngs: nnx.Rngs,
    ):
        super().__init__(factor, sensor)
        check_positive(channels=channels, groups=groups, blocks=blocks, reduction=reduction)
        self.head = Conv(1, channels, rngs=rngs)
        self.groups = nnx.List(
            ResidualGroup(channels, blocks, reduction, rngs=rngs) for _ in range(groups)
        )
        self.last = Conv(channels, channels, rngs=rngs)
        self.tail = Tail(channels, factor, rngs=rngs)

    def __call__(
        self, images: Float[Array, "B height width"]
    ) -> Float[Array, "B fine_height fine_width"]:
        head = self.head(images[..., None])
        maps = head
        for group in self.groups:
            maps = group(maps)
        return self.tail(self.last(maps) + head).astype(images.dtype)
