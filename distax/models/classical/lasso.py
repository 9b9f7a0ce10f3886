"""ISTA and FISTA (Beck and Teboulle, SIAM J. Imaging Sciences 2009) on the sub-pixel grid."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from distax.imaging.sensor import Sensor, squared_norm
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
    """The x with least ½‖Φx − y‖² + λ‖x‖₁ for each sample, from x = 0.

    λ starts at ‖Φᵀy‖∞, above which x = 0 is the answer, and falls by `decay` an iteration to
    `sparsity`: solutions of nearby problems are near, and sparse ones are found faster
    (continuation: Hale, Yin and Zhang, SIAM J. Optimization 2008).

    Args:
      y: images as rows, in counts.
      phi: sampling matrix.
      sparsity: λ in counts.
      iterations: how many, each with a step of 1/‖Φ‖².
      accelerated: with Nesterov's momentum (FISTA), else without (ISTA).
      decay: factor in 0..1.
    """
    step = 1 / squared_norm(phi).astype(y.dtype)
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
    """Iterative shrinkage-thresholding.

    Args:
      factor: grid nodes per pixel along each axis, odd.
      iterations: steps of the solver.
      sparsity: λ in counts, the weight of ‖x‖₁ against ½‖Φx − y‖².
      sensor: the imaging model; gives Φ.
      rngs: not used: there is nothing to train.

    Raises:
      DistaxError: an even factor, or a number that is not positive.
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
    """Iterative shrinkage-thresholding with Nesterov's momentum."""

    accelerated = True
