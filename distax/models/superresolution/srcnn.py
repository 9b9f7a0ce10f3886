"""SRCNN: image super-resolution by convolutional networks (Dong et al., TPAMI 2016)."""

import jax
from flax import nnx
from jaxtyping import Array, Float

from distax.imaging.sensor import Sensor
from distax.models.base import GridModel
from distax.models.layers.basic import Conv
from distax.models.layers.resampling import upsample
from distax.models.registry import register
from distax.models.unfolding.base import EstimatingModel


@register("srcnn")
class Srcnn(GridModel):
    """SRCNN: super-resolution convolutional network (Dong et al., TPAMI 2016).

    Three convolutions are applied to the bicubic interpolation of the image. The paper's kernels
    have 9, 1 and 5 taps along each axis; here, as in the original toolkit, all have 3.

    Args:
      factor: grid nodes per pixel along each axis, odd.
      sensor: the sensor whose images the model takes.
      rngs: keys for the initial parameters.

    Raises:
      DistaxError: the factor is even.
    """

    def __init__(self, *, factor: int = 3, sensor: Sensor = Sensor(), rngs: nnx.Rngs):
        super().__init__(factor, sensor)
        self.first = Conv(1, 64, rngs=rngs)
        self.second = Conv(64, 32, rngs=rngs)
        self.last = Conv(32, 1, rngs=rngs)

    def __call__(
        self, images: Float[Array, "B height width"]
    ) -> Float[Array, "B fine_height fine_width"]:
        maps = upsample(images[..., None], self.factor, "bicubic")
        maps = jax.nn.relu(self.second(jax.nn.relu(self.first(maps))))
        return self.last(maps)[..., 0].astype(images.dtype)


@register("srcnn_sequence")
class SrcnnSequence(EstimatingModel):
    """SRCNN (Dong et al., TPAMI 2016) as in the table of SeqCSIST (arXiv 2507.09556).

    Three convolutions with kernels of 9, 5 and 5 taps along each axis are applied to the linear
    estimate x₀ = Q y, from which unfolded models start too.

    Args:
      factor: grid nodes per pixel along each axis, odd.
      sensor: the imaging model; gives the default of the initial estimator.
      q_init: initial estimator Q `[nodes, pixels]`. Default: fitted to simulated scenes.
      rngs: keys for the initial parameters.

    Raises:
      DistaxError: the factor is even, or a matrix has the wrong shape.
    """

    def __init__(
        self,
        *,
        factor: int = 3,
        sensor: Sensor = Sensor(),
        q_init: Float[Array, "nodes pixels"] | None = None,
        rngs: nnx.Rngs,
    ):
        super().__init__(factor, sensor, q_init)
        self.first = Conv(1, 32, 9, rngs=rngs)
        self.second = Conv(32, 16, 5, rngs=rngs)
        self.last = Conv(16, 1, 5, rngs=rngs)

    def __call__(
        self, images: Float[Array, "B height width"]
    ) -> Float[Array, "B fine_height fine_width"]:
        maps = self.initialise(images)[1].reshape(-1, *self.shape, 1)
        maps = jax.nn.relu(self.second(jax.nn.relu(self.first(maps))))
        return self.last(maps)[..., 0].astype(images.dtype)
