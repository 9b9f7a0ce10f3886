"""DBPN: deep back-projection networks for super-resolution (Haris et al., CVPR 2018)."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from distax.imaging.sensor import Sensor
from distax.models.base import GridModel
from distax.models.layers.backprojection import Merge, ProjectDown, ProjectUp, with_prelu
from distax.models.layers.basic import Affine, Conv, Maps
from distax.models.registry import register
from distax.runtime.errors import check_positive


class UpUnit(nnx.Module):
    """Up-projection to the fine grid, corrected by the error of its back-projection."""

    def __init__(self, channels: int, factor: int, *, rngs: nnx.Rngs):
        self.first = with_prelu(ProjectUp(channels, channels, factor, rngs=rngs), rngs)
        self.back = with_prelu(ProjectDown(channels, channels, factor, rngs=rngs), rngs)
        self.second = with_prelu(ProjectUp(channels, channels, factor, rngs=rngs), rngs)

    def __call__(self, coarse: Maps) -> Float[Array, "B fine_height fine_width channels"]:
        fine = self.first(coarse)
        return fine + self.second(self.back(fine) - coarse)


class DownUnit(nnx.Module):
    """Down-projection to the coarse grid, corrected by the error of its back-projection."""

    def __init__(self, channels: int, factor: int, *, rngs: nnx.Rngs):
        self.first = with_prelu(ProjectDown(channels, channels, factor, rngs=rngs), rngs)
        self.back = with_prelu(ProjectUp(channels, channels, factor, rngs=rngs), rngs)
        self.second = with_prelu(ProjectDown(channels, channels, factor, rngs=rngs), rngs)

    def __call__(self, fine: Maps) -> Float[Array, "B coarse_height coarse_width channels"]:
        coarse = self.first(fine)
        return coarse + self.second(self.back(coarse) - fine)


@register("dbpn")
class Dbpn(GridModel):
    """DBPN: deep back-projection network (Haris et al., CVPR 2018).

    Up and down units alternate, and each sees the outputs of all units before it. The defaults are
    the paper's DBPN-S. From the second unit of a kind on, a 1×1 convolution merges the maps of all
    units of the other kind (the paper's dense connections). The image is not normalised, and PReLUs
    have one slope for all channels.

    Args:
      factor: grid nodes per pixel along each axis, odd.
      initial: number of channels of the first convolution.
      channels: number of maps in the units.
      stages: number of up units, with a down unit between every two.
      dense: False for the toolkit of SeqCSIST (arXiv 2507.09556): each unit sees the one before it
        only, and the last convolution is 1×1 on the maps of the last unit. Its published score is
        that of 7 stages.
      sensor: the sensor whose images the model takes.
      rngs: keys for the initial parameters.

    Raises:
      DistaxError: the factor is even, or a size is not positive.
    """

    def __init__(
        self,
        *,
        factor: int = 3,
        initial: int = 128,
        channels: int = 32,
        stages: int = 2,
        dense: bool = True,
        sensor: Sensor = Sensor(),
        rngs: nnx.Rngs,
    ):
        super().__init__(factor, sensor)
        check_positive(initial=initial, channels=channels, stages=stages)
        self.head = with_prelu(Conv(1, initial, rngs=rngs), rngs)
        self.features = with_prelu(Affine(initial, channels, rngs=rngs), rngs)
        self.start = UpUnit(channels, factor, rngs=rngs)
        self.downs = nnx.List(DownUnit(channels, factor, rngs=rngs) for _ in range(stages - 1))
        self.ups = nnx.List(UpUnit(channels, factor, rngs=rngs) for _ in range(stages - 1))
        self.seen = stages if dense else 1  # units, the last ones
        self.merge_coarse = Merge(channels, min(stages - 1, self.seen), rngs=rngs)
        self.merge_fine = Merge(channels, min(stages - 1, self.seen), rngs=rngs)
        self.last = Conv(self.seen * channels, 1, 3 if dense else 1, rngs=rngs)

    def __call__(
        self, images: Float[Array, "B height width"]
    ) -> Float[Array, "B fine_height fine_width"]:
        fine = [self.start(self.features(self.head(images[..., None])))]
        coarse: list[Array] = []
        for down, up in zip(self.downs, self.ups, strict=True):
            coarse.append(down(self.merge_fine(fine[-self.seen :])))
            fine.append(up(self.merge_coarse(coarse[-self.seen :])))
        maps = jnp.concatenate(fine[-self.seen :], axis=-1)
        return self.last(maps)[..., 0].astype(images.dtype)
