"""Non-negative least squares on the sub-pixel grid."""

import optax
from flax import nnx
from jaxtyping import Array, Float

from distax.imaging.sensor import Sensor, largest_eigenvalue
from distax.models.base import Constant, GridModel
from distax.models.registry import register
from distax.runtime.errors import check_positive
from distax.runtime.numerics import exact_products


@register("nnls")
class Nnls(GridModel):
    """Non-negative least squares: the x ≥ 0 with least ‖Φx − y‖², by fast projected gradients.

    The solver is Polyak's, as implemented by `optax.nnls`.

    Args:
      factor: grid nodes per pixel along each axis, odd.
      iterations: number of iterations of the solver.
      sensor: the imaging model; gives Φ.
      rngs: not used; a classical model has no parameters.

    Raises:
      DistaxError: the factor is even, or a number is not positive.
    """

    trained = False

    def __init__(
        self,
        *,
        factor: int = 3,
        iterations: int = 500,
        sensor: Sensor = Sensor(),
        rngs: nnx.Rngs,
    ):
        super().__init__(factor, sensor)
        check_positive(iterations=iterations)
        self.iterations = iterations
        self.phi = Constant(sensor.sampling_matrix(factor))

    @exact_products
    def __call__(
        self, images: Float[Array, "B height width"]
    ) -> Float[Array, "B fine_height fine_width"]:
        batch, height, width = images.shape
        phi, y = self.phi[...], images.reshape(batch, -1).T
        x = optax.nnls(phi, y, self.iterations, L=largest_eigenvalue(phi).astype(y.dtype))
        return x.T.reshape(batch, self.factor * height, self.factor * width)
