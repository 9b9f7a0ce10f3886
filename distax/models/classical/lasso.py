"""ISTA and FISTA (Beck and Teboulle, SIAM J. Imaging Sciences 2009) on the sub-pixel grid."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from distax.imaging.sensor import Sensor, largest_eigenvalue
from distax.models.base import Constant, GridModel
from distax.models.layers.transforms import soft_threshold
from distax.models.registry import register
from distax.runtime.errors import check_positive
from distax.runtime.numerics import exact_products


@partial(jax.jit, static_argnames=("sparsity", "iterations", "accelerated", "decay"))
@exact_products
def lasso(
    y: Float[Array, "B pixels"],
    phi: Float[Array, "pixels nodes"],
    sparsity: float,
    iterations: int,
    accelerated: bool = False,
    decay: float = 0.9,
) -> Float[Array, "B nodes"]:
    """Minimises ½‖Φx − y‖² + λ‖x‖₁ for each sample by ISTA or FISTA, starting at x = 0.

    λ starts at ‖Φᵀy‖∞, above which x = 0 is the solution, and falls by the factor `decay` in each
    iteration down to `sparsity`. Nearby problems have nearby solutions, and sparse solutions are
    found faster (continuation: Hale, Yin and Zhang, SIAM J. Optimization 2008).

    Args:
      y: images as rows, in counts.
      phi: sampling matrix Φ.
      sparsity: final λ in counts.
      iterations: number of iterations, each with a step of 1/‖Φ‖².
      accelerated: True for FISTA (Nesterov's momentum), False for ISTA.
      decay: factor in 0..1. A smaller one reaches the final λ sooner, from a worse start.
    """
    step = 1 / largest_eigenvalue(phi).astype(y.dtype)
    highest = jnp.max(jnp.abs(y @ phi), axis=1, keepdims=True)

    def iterate(k: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        x, extrapolated, momentum = carry
        level = jnp.maximum(highest * decay**k, sparsity).astype(y.dtype)
        new = soft_threshold(extrapolated - step * ((extrapolated @ phi.T - y) @ phi), step * level)
        if not accelerated:
            return new, new, momentum
        next_momentum = (1 + jnp.sqrt(1 + 4 * momentum**2)) / 2
        speed = ((momentum - 1) / next_momentum).astype(y.dtype)
        return new, new + speed * (new - x), next_momentum

    start = jnp.zeros((len(y), phi.shape[1]), y.dtype)
    return jax.lax.fori_loop(0, iterations, iterate, (start, start, jnp.ones(())))[0]


@register("ista")
class Ista(GridModel):
    """ISTA: iterative shrinkage-thresholding (Beck and Teboulle, SIAM J. Imaging Sciences 2009).

    Args:
      factor: grid nodes per pixel along each axis, odd.
      iterations: number of iterations of the solver.
      sparsity: λ in counts, the weight of ‖x‖₁ against ½‖Φx − y‖².
      sensor: the imaging model; gives Φ.
      rngs: not used; a classical model has no parameters.

    Raises:
      DistaxError: the factor is even, or a number is not positive.
    """

    trained = False
    accelerated = False

    def __init__(
        self,
        *,
        factor: int = 3,
        iterations: int = 500,
        sparsity: float = 10.0,
        sensor: Sensor = Sensor(),
        rngs: nnx.Rngs,
    ):
        super().__init__(factor, sensor)
        check_positive(iterations=iterations, sparsity=sparsity)
        self.iterations, self.sparsity = iterations, sparsity
        self.phi = Constant(sensor.sampling_matrix(factor))

    def __call__(
        self, images: Float[Array, "B height width"]
    ) -> Float[Array, "B fine_height fine_width"]:
        batch, height, width = images.shape
        y = images.reshape(batch, -1)
        x = lasso(y, self.phi[...], self.sparsity, self.iterations, self.accelerated)
        return x.reshape(batch, self.factor * height, self.factor * width)


@register("fista")
class Fista(Ista):
    """FISTA: ISTA with Nesterov's momentum (Beck and Teboulle, SIAM J. Imaging Sciences 2009)."""

    accelerated = True
