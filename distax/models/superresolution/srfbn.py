"""SRFBN: feedback network for image super-resolution (Li et al., CVPR 2019)."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from distax.imaging.sensor import Sensor
from distax.models.base import GridModel
from distax.models.layers.backprojection import Merge, ProjectDown, ProjectUp, with_prelu
from distax.models.layers.basic import Affine, Conv, Maps
from distax.models.layers.resampling import upsample
from distax.models.registry import register
from distax.models.superresolution import FULL_SCALE
from distax.runtime.errors import check_positive


class FeedbackBlock(nnx.Module):
    """Alternating projections up and down, each from all maps on its grid so far."""

    def __init__(self, channels: int, groups: int, factor: int, *, rngs: nnx.Rngs):
        def projections(kind: type[ProjectUp] | type[ProjectDown]) -> nnx.List:
            return nnx.List(
                with_prelu(kind(channels, channels, factor, rngs=rngs), rngs) for _ in range(groups)
            )

        self.compress_in = with_prelu(Affine(2 * channels, channels, rngs=rngs), rngs)
        self.ups, self.downs = projections(ProjectUp), projections(ProjectDown)
        self.merge_coarse = Merge(channels, groups, rngs=rngs)
        self.merge_fine = Merge(channels, groups, rngs=rngs)
        self.compress_out = with_prelu(Affine(groups * channels, channels, rngs=rngs), rngs)

    def __call__(self, maps: Maps, hidden: Maps) -> Maps:
        coarse = [self.compress_in(jnp.concatenate([maps, hidden], axis=-1))]
        fine: list[Array] = []
        for up, down in zip(self.ups, self.downs, strict=True):
            fine.append(up(self.merge_coarse(coarse)))
            coarse.append(down(self.merge_fine(fine)))
        return self.compress_out(jnp.concatenate(coarse[1:], axis=-1))


@register("srfbn")
class Srfbn(GridModel):
    """SRFBN: feedback network (Li et al., CVPR 2019), with one pass of the feedback block.

    The result of the block is added to the bilinear interpolation of the image. The defaults are
    the sizes of the paper's SRFBN-S, which feeds the block's output back to it for four passes. The
    original toolkit makes the first pass only, in which the hidden state is the block's own input.

    Args:
      factor: grid nodes per pixel along each axis, odd.
      channels: number of maps in the feedback block, a quarter of the number before it.
      groups: number of pairs of projections up and down.
      offset: counts added at the end, to undo the subtraction of half the full scale at the start.
        The original subtracts 255 instead, and its weights are trained to compensate.
      sensor: the sensor whose images the model takes.
      rngs: keys for the initial parameters.

    Raises:
      DistaxError: the factor is even, or a size is not positive.
    """

    def __init__(
        self,
        *,
        factor: int = 3,
        channels: int = 32,
        groups: int = 3,
        offset: float = FULL_SCALE / 2,
        sensor: Sensor = Sensor(),
        rngs: nnx.Rngs,
    ):
        super().__init__(factor, sensor)
        check_positive(channels=channels, groups=groups)
        self.offset = offset
        self.head = with_prelu(Conv(1, 4 * channels, rngs=rngs), rngs)
        self.features = with_prelu(Affine(4 * channels, channels, rngs=rngs), rngs)
        self.block = FeedbackBlock(channels, groups, factor, rngs=rngs)
        self.expand = with_prelu(ProjectUp(channels, channels, factor, rngs=rngs), rngs)
        self.last = Conv(channels, 1, rngs=rngs)

    def __call__(
        self, images: Float[Array, "B height width"]
    ) -> Float[Array, "B fine_height fine_width"]:
        shifted = images[..., None] - FULL_SCALE / 2
        maps = self.features(self.head(shifted))
        correction = self.last(self.expand(self.block(maps, maps)))
        return (correction + upsample(shifted, self.factor, "bilinear"))[..., 0] + self.offset
