"""FISTA-Net (Xiang, Dong and Yang, IEEE TMI 2021)."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from distax.imaging.sensor import Sensor
from distax.models.layers.basic import Conv, Maps, OneMap
from distax.models.layers.residual import ConvPair
from distax.models.layers.transforms import soft_threshold
from distax.models.registry import register
from distax.models.unfolding.base import UnfoldingModel, gradient_step
from distax.runtime.errors import check_positive
from distax.runtime.pytree import pytree


class Ramp(nnx.Module):
    """Positive number for each stage i from two parameters: softplus(w·i + b)."""

    def __init__(self, slope: float, offset: float):
        self.slope = nnx.Param(jnp.array(slope, jnp.float32))
        self.offset = nnx.Param(jnp.array(offset, jnp.float32))

    def __call__(self, stage: int) -> Float[Array, ""]:
        return jax.nn.softplus(self.slope[...] * stage + self.offset[...])


class Proximal(nnx.Module):
    """Learned proximal operator: r plus a correction from shrunk features, then a ReLU."""

    def __init__(self, channels: int, rngs: nnx.Rngs):
        self.lift = Conv(1, channels, rngs=rngs)
        self.forward = ConvPair(channels, rngs=rngs)
        self.backward = ConvPair(channels, rngs=rngs)
        self.drop = Conv(channels, 1, rngs=rngs)

    def __call__(self, r: OneMap, threshold: Float[Array, ""]) -> tuple[OneMap, Maps, Maps]:
        """Returns the estimate, the transforms' asymmetry G(F r) − r, and the shrunk features."""
        lifted = self.lift(r)
        features = self.forward(lifted)
        shrunk = soft_threshold(features, threshold.astype(features.dtype))
        estimate = jax.nn.relu(r + self.drop(self.backward(shrunk)))
        asymmetry = self.backward(features) - lifted
        return estimate, asymmetry.astype(r.dtype), shrunk.astype(r.dtype)


@pytree
class StageOutput:
    """Output of a stage: the estimate, the asymmetry of the transforms, the shrunk features."""

    x: Float[Array, "B nodes"]
    asymmetry: Maps
    features: Maps


@register("fista_net")
class FistaNet(UnfoldingModel):
    """FISTA-Net (Xiang, Dong and Yang, IEEE TMI 2021).

    All stages share one proximal network, with momentum between them. The step size, the threshold
    and the momentum are functions of the stage's number with two parameters each.

    Args:
      factor: grid nodes per pixel along each axis, odd.
      stages: unrolled iterations.
      channels: number of maps of the transform.
      sensor: the imaging model; gives the defaults of Φ and of the initial estimator.
      phi: sampling matrix Φ `[pixels, nodes]`. Default: the sensor's.
      q_init: initial estimator Q `[nodes, pixels]`. Default: fitted to simulated scenes.
      rngs: keys for the initial parameters.

    Raises:
      DistaxError: the factor is even, a size is not positive, or a matrix has the wrong shape.
    """

    def __init__(
        self,
        *,
        factor: int = 3,
        stages: int = 7,
        channels: int = 32,
        sensor: Sensor = Sensor(),
        phi: Float[Array, "pixels nodes"] | None = None,
        q_init: Float[Array, "nodes pixels"] | None = None,
        rngs: nnx.Rngs,
    ):
        super().__init__(factor, sensor, phi, q_init)
        check_positive(stages=stages, channels=channels)
        self.stages = stages
        self.step_size = Ramp(-0.2, 0.1)
        self.threshold = Ramp(-0.5, -2.0)
        self.momentum = Ramp(0.5, 0.0)
        self.proximal = Proximal(channels, rngs)

    def unroll(self, images: Float[Array, "B height width"]) -> list[StageOutput]:
        """Returns every stage's output, first to last."""
        y, x = self.initialise(images)
        outputs: list[StageOutput] = []
        extrapolated = x
        for stage in range(self.stages):
            r = gradient_step(extrapolated, y, self.phi[...], self.step_size(stage).astype(y.dtype))
            maps = self.proximal(r.reshape(-1, *self.shape, 1), self.threshold(stage))
            previous, x = x, maps[0].reshape(x.shape)
            outputs.append(StageOutput(x=x, asymmetry=maps[1], features=maps[2]))
            momentum = (self.momentum(stage) - self.momentum(0)) / self.momentum(stage)
            extrapolated = x + momentum.astype(x.dtype) * (x - previous)
        return outputs

    def iterates(self, images: Float[Array, "B height width"]) -> list[Float[Array, "B nodes"]]:
        """Returns the estimate after every stage, x₀ = Q y first."""
        return [self.initialise(images)[1], *(output.x for output in self.unroll(images))]

    def objective(
        self,
        images: Float[Array, "B height width"],
        grids: Float[Array, "B fine_height fine_width"],
    ) -> Float[Array, ""]:
        """Returns mean e² + 0.1 mean |e| + 0.01 Σ mean asymmetry² + 0.001 Σ mean |features|.

        e is the error of the last estimate; the sums run over all stages.
        """
        outputs = self.unroll(images)
        error = outputs[-1].x - grids.reshape(len(grids), -1)
        symmetry = sum(jnp.mean(output.asymmetry**2) for output in outputs)
        sparsity = sum(jnp.mean(jnp.abs(output.features)) for output in outputs)
        of_grid = jnp.mean(error**2) + 0.1 * jnp.mean(jnp.abs(error))
        return of_grid + 0.01 * symmetry + 0.001 * sparsity
