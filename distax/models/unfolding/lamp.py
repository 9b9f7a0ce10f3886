"""LAMP: learned approximate message passing (Borgerding, Schniter and Rangan, IEEE TSP 2017)."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from distax.errors import check_positive
from distax.models.layers.basic import like
from distax.models.layers.transforms import soft_threshold
from distax.models.registry import register
from distax.models.unfolding.base import UnfoldingModel
from distax.sensor import Sensor, squared_norm


class LampLayer(nnx.Module):
    """One iteration: the residual with its Onsager term, then x ← η(x + B v; λσ)."""

    def __init__(self, backward: Float[Array, "nodes pixels"], sparsity: float):
        self.backward = nnx.Param(backward)
        self.sparsity = nnx.Param(jnp.full(len(backward), sparsity))

    def __call__(
        self,
        x: Float[Array, "B nodes"],
        v: Float[Array, "B pixels"],
        y: Float[Array, "B pixels"],
        phi: Float[Array, "pixels nodes"],
    ) -> tuple[Float[Array, "B nodes"], Float[Array, "B pixels"]]:
        """The next estimate and the residual it was made from."""
        onsager = jnp.count_nonzero(x, axis=1, keepdims=True) / y.shape[1]
        v = y - x @ phi.T + onsager.astype(x.dtype) * v
        noise = jnp.sqrt(jnp.mean(v**2, axis=1, keepdims=True))
        threshold = jax.nn.relu(noise * like(x, self.sparsity))
        return soft_threshold(x + v @ like(x, self.backward).T, threshold), v


@register("lamp")
class Lamp(UnfoldingModel):
    """Learned approximate message passing with soft thresholding; Φ stays as it is.

    Args:
      factor: grid nodes per pixel along each axis, odd.
      layers: unrolled iterations.
      sparsity: the initial threshold in standard deviations of the residual.
      sensor: the imaging model; gives Φ and the initial estimator.
      phi: sampling matrix `[pixels, nodes]` in place of the sensor's.
      q_init: initial estimator Q `[nodes, pixels]` in place of the one over simulated scenes.
      rngs: not used: the initial parameters are an iteration of the solver.

    Raises:
      DistaxError: an even factor, a size that is not positive, or a matrix of another size.
    """

    def __init__(
        self,
        *,
        factor: int = 3,
        layers: int = 16,
        sparsity: float = 0.4,
        sensor: Sensor = Sensor(),
        phi: Float[Array, "pixels nodes"] | None = None,
        q_init: Float[Array, "nodes pixels"] | None = None,
        rngs: nnx.Rngs,
    ):
        super().__init__(factor, sensor, phi, q_init)
        check_positive(layers=layers, sparsity=sparsity)
        backward = self.phi[...].T / squared_norm(self.phi[...])
        self.layers = nnx.List(LampLayer(backward, sparsity) for _ in range(layers))

    def iterates(self, images: Float[Array, "B height width"]) -> list[Float[Array, "B nodes"]]:
        """The estimate after every layer, x₀ = Q y first."""
        y, x = self.start(images)
        estimates, v = [x], jnp.zeros_like(y)
        for layer in self.layers:
            x, v = layer(x, v, y, self.phi[...])
            estimates.append(x)
        return estimates
