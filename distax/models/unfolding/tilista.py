"""TiLISTA: LISTA with one matrix a layer (Liu, Chen, Wang and Yin, ICLR 2019).

Support selection, which spares the largest entries from shrinkage, is that of Chen, Liu, Wang and
Yin (NeurIPS 2018).
"""

from collections.abc import Iterable

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from distax.imaging.sensor import squared_norm
from distax.models.layers.basic import like
from distax.models.layers.transforms import soft_threshold
from distax.models.registry import register
from distax.models.unfolding.layered import LayeredModel

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
class TiLista(LayeredModel):
    """TiLISTA as this field uses it: a matrix W for each layer, where the paper ties them all.

    Arguments as of `LayeredModel`; `sparsity` is λ of the lasso problem.
    """

    def solver_steps(self, layers: int, sparsity: float) -> Iterable[TiListaLayer]:
        """W = Q and θ = λ/‖Φ‖²; each layer trusts some more nodes than the one before."""
        threshold = sparsity / squared_norm(self.phi[...])
        for layer in range(layers):
            percent = min(_TRUSTED_STEP * (layer + 1), _TRUSTED_MOST)
            yield TiListaLayer(self.q_init[...], threshold, percent)

    def iterates(self, images: Float[Array, "B height width"]) -> list[Float[Array, "B nodes"]]:
        """The estimate after every layer, x₀ = Q y first."""
        y, x = self.start(images)
        estimates = [x]
        for layer in self.layers:
            estimates.append(layer(estimates[-1], y, self.phi[...]))
        return estimates
