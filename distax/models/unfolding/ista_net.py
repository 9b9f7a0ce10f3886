"""ISTA-Net and ISTA-Net+ (Zhang and Ghanem, CVPR 2018)."""

from abc import abstractmethod

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from distax.imaging.sensor import Sensor
from distax.models.layers.basic import Maps, OneMap, cast_like
from distax.models.layers.convolution import conv3x3
from distax.models.layers.precision import MapLayer
from distax.models.layers.transforms import TwoConvolutions, glorot_kernel, soft_threshold
from distax.models.registry import register
from distax.models.unfolding.base import UnfoldingModel, gradient_step
from distax.runtime.errors import check_positive


class Stage(MapLayer):
    """One iteration: a gradient step on ‖Φx − y‖² to r, then shrinkage in a learned transform."""

    def __init__(self) -> None:
        self.step_size = nnx.Param(jnp.array(0.5, jnp.float32))
        self.threshold = nnx.Param(jnp.array(0.01, jnp.float32))

    @abstractmethod
    def shrink(self, r: OneMap) -> tuple[OneMap, Maps]:
        """Returns the estimate, and the asymmetry: the error of inverting the forward transform."""

    def __call__(
        self,
        x: Float[Array, "B nodes"],
        y: Float[Array, "B pixels"],
        phi: Float[Array, "pixels nodes"],
        shape: tuple[int, int],
    ) -> tuple[Float[Array, "B nodes"], Maps]:
        r = gradient_step(x, y, phi, cast_like(self.step_size, x))
        estimate, asymmetry = self.shrink(r.reshape(-1, *shape, 1))
        return estimate.reshape(x.shape), asymmetry


class PlainStage(Stage):
    """Stage of ISTA-Net: the estimate is the backward transform of the shrunk maps."""

    def __init__(self, channels: int, rngs: nnx.Rngs):
        super().__init__()
        self.forward = TwoConvolutions(1, channels, channels, rngs)
        self.backward = TwoConvolutions(channels, channels, 1, rngs)

    def shrink(self, r: OneMap) -> tuple[OneMap, Maps]:
        """Returns x = G(soft(F r; θ)) and the asymmetry G(F r) − r."""
        u = self.forward(self.enter(r))
        x = self.backward(soft_threshold(u, cast_like(self.threshold, u)))
        return x.astype(r.dtype), self.backward(u) - r


class ResidualStage(Stage):
    """Stage of ISTA-Net+: the transforms act on many channels and give a correction to r."""

    def __init__(self, channels: int, rngs: nnx.Rngs):
        super().__init__()
        self.lift = glorot_kernel(1, channels, rngs)
        self.forward = TwoConvolutions(channels, channels, channels, rngs)
        self.backward = TwoConvolutions(channels, channels, channels, rngs)
        self.drop = glorot_kernel(channels, 1, rngs)

    def shrink(self, r: OneMap) -> tuple[OneMap, Maps]:
        """Returns x = r + drop G(soft(F(lift r); θ)) and the asymmetry G(F(lift r)) − lift r."""
        maps = self.enter(r)
        lifted = conv3x3(maps, cast_like(self.lift, maps))
        u = self.forward(lifted)
        correction = self.backward(soft_threshold(u, cast_like(self.threshold, u)))
        x = r + conv3x3(correction, cast_like(self.drop, maps))
        return x, (self.backward(u) - lifted).astype(r.dtype)


@register("ista_net")
class IstaNet(UnfoldingModel):
    """ISTA-Net (Zhang and Ghanem, CVPR 2018).

    Args:
      factor: grid nodes per pixel along each axis, odd.
      stages: unrolled iterations, each with its own weights.
      channels: number of maps of the transform.
      symmetry_weight: weight of the symmetry terms in the training objective.
      sensor: the imaging model; gives the defaults of Φ and of the initial estimator.
      phi: sampling matrix Φ `[pixels, nodes]`. Default: the sensor's.
      q_init: initial estimator Q `[nodes, pixels]`. Default: fitted to simulated scenes.
      rngs: keys for the initial parameters.

    Raises:
      DistaxError: the factor is even, a size is not positive, or a matrix has the wrong shape.
    """

    stage: type[PlainStage] | type[ResidualStage] = PlainStage

    def __init__(
        self,
        *,
        factor: int = 3,
        stages: int = 9,
        channels: int = 32,
        symmetry_weight: float = 0.01,
        sensor: Sensor = Sensor(),
        phi: Float[Array, "pixels nodes"] | None = None,
        q_init: Float[Array, "nodes pixels"] | None = None,
        rngs: nnx.Rngs,
    ):
        super().__init__(factor, sensor, phi, q_init)
        check_positive(stages=stages, channels=channels)
        self.symmetry_weight = symmetry_weight
        self.stages = nnx.List(self.stage(channels, rngs) for _ in range(stages))

    def unroll(
        self, images: Float[Array, "B height width"]
    ) -> tuple[
        list[Float[Array, "B nodes"]], list[Float[Array, "B fine_height fine_width channels"]]
    ]:
        """Returns the estimate after every stage, x₀ = Q y first, and every stage's asymmetry."""
        y, x = self.initialise(images)
        estimates, asymmetries = [x], []
        for stage in self.stages:
            x, asymmetry = stage(x, y, self.phi[...], self.shape)
            estimates.append(x)
            asymmetries.append(asymmetry)
        return estimates, asymmetries

    def iterates(self, images: Float[Array, "B height width"]) -> list[Float[Array, "B nodes"]]:
        """Returns the estimate after every stage, x₀ = Q y first."""
        return self.unroll(images)[0]

    def objective(
        self,
        images: Float[Array, "B height width"],
        grids: Float[Array, "B fine_height fine_width"],
    ) -> Float[Array, ""]:
        """Returns mean (x_N − x*)² + w Σ_k mean (G(F r_k) − r_k)² (equation 12).

        w is `symmetry_weight`.
        """
        estimates, asymmetries = self.unroll(images)
        error = jnp.mean((estimates[-1] - grids.reshape(len(grids), -1)) ** 2)
        symmetry = sum(jnp.mean(asymmetry**2) for asymmetry in asymmetries)
        return error + self.symmetry_weight * symmetry


@register("ista_net_plus")
class IstaNetPlus(IstaNet):
    """ISTA-Net+ (Zhang and Ghanem, CVPR 2018): each stage corrects its gradient step."""

    stage = ResidualStage
