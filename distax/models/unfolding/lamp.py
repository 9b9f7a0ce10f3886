"""LAMP: learned approximate message passing (Borgerding, Schniter and Rangan, IEEE TSP 2017)."""

from collections.abc import Iterable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from distax.imaging.sensor import squared_norm
from distax.models.layers.basic import like
from distax.models.layers.transforms import soft_threshold
from distax.models.registry import register
from distax.models.unfolding.layered import LayeredModel


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
class Lamp(LayeredModel):
    """Learned approximate message passing with soft thresholding; Φ stays as it is.

    Arguments as of `LayeredModel`; `sparsity` is the initial threshold in standard deviations of
    the residual.
    """

    def solver_steps(self, layers: int, sparsity: float) -> Iterable[LampLayer]:
        """B = Φᵀ/‖Φ‖²."""
        backward = self.phi[...].T / squared_norm(self.phi[...])
        return (LampLayer(backward, sparsity) for _ in range(layers))

    def iterates(self, images: Float[Array, "B height width"]) -> list[Float[Array, "B nodes"]]:
        """The estimate after every layer, x₀ = Q y first."""
        y, x = self.start(images)
        estimates, v = [x], jnp.zeros_like(y)
        for layer in self.layers:
            x, v = layer(x, v, y, self.phi[...])
            estimates.append(x)
        return estimates
