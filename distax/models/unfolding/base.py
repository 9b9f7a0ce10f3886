"""Base classes of models that start from a linear estimate, and the gradient step."""

from abc import abstractmethod

from jaxtyping import Array, Float

from distax.imaging.sensor import Sensor
from distax.models.base import Constant, GridModel
from distax.models.unfolding.initialization import simulated_estimator
from distax.runtime.errors import DistaxError
from distax.runtime.numerics import exact_products


class EstimatingModel(GridModel):
    """A grid model that starts from the linear estimate x₀ = Q y, one row per sample.

    Args:
      factor: grid nodes per pixel along each axis, odd.
      sensor: the imaging model; gives the default of the initial estimator.
      q_init: initial estimator Q `[nodes, pixels]`. Default: fitted to simulated scenes.

    Raises:
      DistaxError: the factor is even, or a matrix has the wrong shape.
    """

    def __init__(self, factor: int, sensor: Sensor, q_init: Float[Array, "nodes pixels"] | None):
        super().__init__(factor, sensor)
        self.shape = factor * sensor.height, factor * sensor.width
        self.pixels, self.nodes = sensor.height * sensor.width, self.shape[0] * self.shape[1]
        q_init = simulated_estimator(sensor, factor) if q_init is None else q_init
        check_matrix("q_init", q_init, factor, (self.nodes, self.pixels))
        self.q_init = Constant(q_init)

    @exact_products
    def initialise(
        self, images: Float[Array, "B height width"]
    ) -> tuple[Float[Array, "B pixels"], Float[Array, "B nodes"]]:
        """Returns the images as rows y, and the initial estimate x₀ = Q y."""
        y = images.reshape(len(images), -1)
        return y, y @ self.q_init[...].T


class UnfoldingModel(EstimatingModel):
    """A model whose stages improve x₀ and use the sampling matrix Φ of the sensor.

    Subclasses define `iterates`.

    Args:
      factor: grid nodes per pixel along each axis, odd.
      sensor: the imaging model; gives the defaults of Φ and of the initial estimator.
      phi: sampling matrix Φ `[pixels, nodes]`. Default: the sensor's.
      q_init: initial estimator Q `[nodes, pixels]`. Default: fitted to simulated scenes.

    Raises:
      DistaxError: the factor is even, or a matrix has the wrong shape.
    """

    def __init__(
        self,
        factor: int,
        sensor: Sensor,
        phi: Float[Array, "pixels nodes"] | None,
        q_init: Float[Array, "nodes pixels"] | None,
    ):
        pixels = sensor.height * sensor.width
        phi = sensor.sampling_matrix(factor) if phi is None else phi
        check_matrix("phi", phi, factor, (pixels, factor**2 * pixels))
        super().__init__(factor, sensor, q_init)
        self.phi = Constant(phi)

    @abstractmethod
    def iterates(self, images: Float[Array, "B height width"]) -> list[Float[Array, "B nodes"]]:
        """Returns the estimate after every stage, x₀ first."""

    def __call__(
        self, images: Float[Array, "B height width"]
    ) -> Float[Array, "B fine_height fine_width"]:
        return self.iterates(images)[-1].reshape(-1, *self.shape)


def check_matrix(name: str, matrix: Array, factor: int, shape: tuple[int, int]) -> None:
    """Raises DistaxError if a matrix does not have the shape that the factor needs."""
    if matrix.shape != shape:
        raise DistaxError(f"{name} has shape {matrix.shape}, factor {factor} needs {shape}")


@exact_products
def gradient_step(
    x: Float[Array, "B nodes"],
    y: Float[Array, "B pixels"],
    phi: Float[Array, "pixels nodes"],
    step_size: Float[Array, ""],
) -> Float[Array, "B nodes"]:
    """Takes a gradient step on ½‖Φx − y‖²: x − λ Φᵀ(Φx − y), samples as rows."""
    return x - step_size * ((x @ phi.T - y) @ phi)
