"""LISTA (Gregor and LeCun, ICML 2010) and LIHT (Wang, Ling and Huang, AAAI 2016).

Both learn dense matrices for x ← η(W x + B y); η is soft thresholding in LISTA and hard
thresholding in LIHT.
"""

from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from distax.imaging.sensor import squared_norm
from distax.models.layers.basic import like
from distax.models.layers.transforms import soft_threshold
from distax.models.registry import register
from distax.models.unfolding.layered import LayeredModel

# How far around the threshold hard thresholding rises in what its gradient is taken of, relative
# to the threshold. LIHT trains through such a ramp too (HELU, section 3.2), below it only.
_RAMP = 0.2


def hard_threshold(
    x: Float[Array, "*batch nodes"], threshold: Float[Array, " nodes"]
) -> Float[Array, "*batch nodes"]:
    """x where |x| > θ, else 0.

    Its gradient is that of a function that rises linearly around θ: a jump gives θ none.
    """
    size = jnp.abs(x)
    kept = jnp.where(size > threshold, x, 0)
    width = 2 * _RAMP * jnp.maximum(jnp.abs(threshold), 1e-3)
    rising = x * jnp.clip((size - threshold) / width + 0.5, 0, 1)
    return rising + jax.lax.stop_gradient(kept - rising)


class DenseLayer(nnx.Module):
    """η(W x + B y) with a threshold for each node; W and B may be given initial values."""

    def __init__(
        self,
        shrink: Callable[[Array, Array], Array],
        recurrent: Float[Array, "nodes nodes"],
        forward: Float[Array, "nodes pixels"],
        threshold: Float[Array, ""],
    ):
        self.shrink = shrink
        self.recurrent, self.forward = nnx.Param(recurrent), nnx.Param(forward)
        self.threshold = nnx.Param(jnp.full(len(recurrent), threshold, jnp.float32))

    def __call__(
        self, x: Float[Array, "B nodes"], y: Float[Array, "B pixels"]
    ) -> Float[Array, "B nodes"]:
        z = x @ like(x, self.recurrent).T + y @ like(x, self.forward).T
        return self.shrink(z, like(x, self.threshold))


@register("lista")
class Lista(LayeredModel):
    """Learned iterative shrinkage-thresholding, every layer with matrices of its own.

    Arguments as of `LayeredModel`; `sparsity` is λ of the lasso problem.
    """

    def solver_steps(self, layers: int, sparsity: float) -> Iterable[DenseLayer]:
        """W = I − QΦ, B = Q and θ = λ/‖Φ‖²."""
        phi, q = self.phi[...], self.q_init[...]
        recurrent, threshold = jnp.eye(self.nodes) - q @ phi, sparsity / squared_norm(phi)
        shrink = _soft_threshold_from_zero
        return (DenseLayer(shrink, recurrent, q, threshold) for _ in range(layers))

    def iterates(self, images: Float[Array, "B height width"]) -> list[Float[Array, "B nodes"]]:
        """The estimate after every layer, x₀ = Q y first."""
        y, x = self.start(images)
        estimates = [x]
        for layer in self.layers:
            estimates.append(layer(estimates[-1], y))
        return estimates


@register("liht")
class Liht(Lista):
    """Learned iterative hard thresholding: as LISTA, but what passes its threshold stays whole.

    Arguments as of `LayeredModel`; `sparsity` is λ of the ℓ₀ problem.
    """

    def solver_steps(self, layers: int, sparsity: float) -> Iterable[DenseLayer]:
        """W = I, B = Q and θ = √λ."""
        recurrent, threshold = jnp.eye(self.nodes), jnp.sqrt(sparsity)
        forward = self.q_init[...]
        return (DenseLayer(hard_threshold, recurrent, forward, threshold) for _ in range(layers))


def _soft_threshold_from_zero(x: Array, threshold: Array) -> Array:
    """Soft thresholding whose learned threshold counts as zero where it is negative."""
    return soft_threshold(x, jax.nn.relu(threshold))
