"""TiLISTA: LISTA with one matrix a layer (Liu, Chen, Wang and Yin, ICLR 2019).

Support selection, which spares the largest entries from shrinkage, is that of Chen, Liu, Wang and
Yin (NeurIPS 2018).
"""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from distax.errors import check_positive
from distax.models.layers.basic import like
from distax.models.layers.transforms import soft_threshold
from distax.models.registry import register
from distax.models.unfolding.base import UnfoldingModel
from distax.sensor import Sensor, squared_norm

# Percent of the nodes that a layer trusts beyond the one before, and at most.
_TRUSTED_STEP, _TRUSTED_MOST = 1.2, 13.0


def shrink_unselected(
    z: Float[Array, "B nodes"], threshold: Float[Array, " nodes"], percent: float
) -> Float[Array, "B nodes"]:
    """Soft thresholding of all but the largest `percent` of each sample's entries beyond θ."""
    size = jnp.abs(z)
    level = jnp.quantile(size.astype(float), 1 - percent / 100, axis=1, keepdims=True)
    trusted = (size > threshold) & (size > level)
    return jnp.where(trusted, z, soft_threshold(z, threshold))


class TiListaLayer(nnx.Module):
    """One iteration: x ← η(x + α W (y − Φx))."""

    def __init__(self, backward: Float[Array, "nodes pixels"], threshold: Array, percent: float):
        self.percent = percent
        self.backward = nnx.Param(backward)
        self.threshold = nnx.Param(jnp.full(len(backward), threshold, jnp.float32))
        self.step_size = nnx.Param(jnp.ones(()))

    def __call__(
        self,
        x: Float[Array, "B nodes"],
        y: Float[Array, "B pixels"],
        phi: Float[Array, "pixels nodes"],
    ) -> Float[Array, "B nodes"]:
        step = (y - x @ phi.T) @ like(x, self.backward).T
        z = x + like(x, self.step_size) * step
        return shrink_unselected(z, like(x, self.threshold), self.percent)


@register("tilista")
class TiLista(UnfoldingModel):
    """TiLISTA as this field uses it: a matrix W for each layer, where the paper ties them all.

    Args:
      factor: grid nodes per pixel along each axis, odd.
      layers: unrolled iterations.
      sparsity: λ of the lasso problem that the initial threshold λ/‖Φ‖² belongs to.
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
        threshold = sparsity / squared_norm(self.phi[...])
        self.layers = nnx.List(
            TiListaLayer(self.q_init[...], threshold, min(_TRUSTED_STEP * (k + 1), _TRUSTED_MOST))
            for k in range(layers)
        )

    def iterates(self, images: Float[Array, "B height width"]) -> list[Float[Array, "B nodes"]]:
        """The estimate after every layer, x₀ = Q y first."""
        y, x = self.start(images)
        estimates = [x]
        for layer in self.layers:
            estimates.append(layer(estimates[-1], y, self.phi[...]))
        return estimates
