"""STSA-Net: small target sensitive and adaptive sparse network (published as code)."""

from flax import nnx
from jaxtyping import Array, Float

from distax.imaging.sensor import Sensor
from distax.models.layers.basic import check_multiple
from distax.models.registry import register
from distax.models.unfolding.dista_stage import StageOutput
from distax.models.unfolding.stsa_stage import Stage
from distax.models.unfolding.symmetric import SymmetricModel
from distax.runtime.errors import check_positive


@register("stsa")
class Stsa(SymmetricModel):
    """STSA-Net: small target sensitive and adaptive sparse network for infrared reconstruction.

    It is published as code, under this title and without a paper (github.com/UNCERTAIN-FATE/
    STSA-Net). Its stages are those of DISTA-Net with other parts: the second branch of the
    transform has large kernels, a filter for small targets follows the branches, and the
    thresholds, one at each node, are within 0.0001..0.05 counts.

    Args:
      factor: grid nodes per pixel along each axis, odd.
      stages: unrolled iterations, each with its own weights.
      channels: number of maps of the transform, a multiple of 4.
      alpha: weight of the static branch of the transform against the other.
      symmetry_weight: weight of the symmetry residuals in the training objective.
      sensor: the imaging model; gives the defaults of Φ and of the initial estimator.
      phi: sampling matrix Φ `[pixels, nodes]`. Default: the sensor's.
      q_init: initial estimator Q `[nodes, pixels]`. Default: fitted to simulated scenes.
      rngs: keys for the initial parameters.

    Raises:
      DistaxError: the factor is even, a size is not positive, the channels are not a multiple of
        4, or a matrix has the wrong shape.
    """

    def __init__(
        self,
        *,
        factor: int = 3,
        stages: int = 6,
        channels: int = 64,
        alpha: float = 0.7,
        symmetry_weight: float = 0.01,
        sensor: Sensor = Sensor(),
        phi: Float[Array, "pixels nodes"] | None = None,
        q_init: Float[Array, "nodes pixels"] | None = None,
        rngs: nnx.Rngs,
    ):
        super().__init__(factor, sensor, phi, q_init)
        check_positive(stages=stages, channels=channels)
        check_multiple(4, channels=channels)
        self.symmetry_weight = symmetry_weight
        self.stages = nnx.List(Stage(channels, alpha, rngs) for _ in range(stages))

    def unroll(self, images: Float[Array, "B height width"]) -> list[StageOutput]:
        """Returns every stage's output, first to last."""
        y, x = self.initialise(images)
        outputs: list[StageOutput] = []
        for stage in self.stages:
            outputs.append(stage(x, y, self.phi[...], self.shape))
            x = outputs[-1].x
        return outputs
