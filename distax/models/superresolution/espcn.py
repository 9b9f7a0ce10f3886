"""ESPCN: efficient sub-pixel convolutional network (Shi et al., CVPR 2016)."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from distax.imaging.sensor import Sensor
from distax.models.base import GridModel
from distax.models.layers.basic import Conv
from distax.models.layers.resampling import SubPixel
from distax.models.registry import register
from distax.models.superresolution import FULL_SCALE


@register("espcn")
class Espcn(GridModel):
    """ESPCN: efficient sub-pixel convolutional network (Shi et al., CVPR 2016).

    As in the paper, two convolutions with tanh on the coarse grid are followed by one to the nodes
    of each pixel. Inside the network intensities are in units of the full scale: in counts, tanh
    would saturate for faint and bright pixels alike.

    Args:
      factor: grid nodes per pixel along each axis, odd.
      counts: True for ReLUs and intensities in counts, as in the toolkit of SeqCSIST (arXiv
        2507.09556).
      sensor: the sensor whose images the model takes.
      rngs: keys for the initial parameters.

    Raises:
      DistaxError: the factor is even.
    """

    def __init__(
        self,
        *,
        factor: int = 3,
        counts: bool = False,
        sensor: Sensor = Sensor(),
        rngs: nnx.Rngs,
    ):
        super().__init__(factor, sensor)
        self.unit, self.activation = (1.0, jax.nn.relu) if counts else (FULL_SCALE, jnp.tanh)
        self.first = Conv(1, 64, 5, rngs=rngs)
        self.second = Conv(64, 32, rngs=rngs)
        self.upscale = SubPixel(32, 1, factor, rngs=rngs)

    def __call__(
        self, images: Float[Array, "B height width"]
    ) -> Float[Array, "B fine_height fine_width"]:
        maps = self.activation(self.first(images[..., None] / self.unit))
        fine = self.upscale(self.activation(self.second(maps)))[..., 0]
        return fine.astype(images.dtype) * self.unit
