"""What solvers of sparse problems with learned layers have in common: LISTA and its relatives."""

from abc import abstractmethod
from collections.abc import Iterable

from flax import nnx
from jaxtyping import Array, Float

from distax.imaging.sensor import Sensor
from distax.models.unfolding.base import UnfoldingModel
from distax.runtime.errors import check_positive


class LayeredModel(UnfoldingModel):
    """Layers that each begin as an iteration of a solver. Subclasses define `solver_steps`.

    Args:
      factor: grid nodes per pixel along each axis, odd.
      layers: unrolled iterations.
      sparsity: what the initial thresholds follow from; each model says how.
      sensor: the imaging model; gives Φ and the initial estimator.
      phi: sampling matrix `[pixels, nodes]` in place of the sensor's.
      q_init: initial estimator Q `[nodes, pixels]` in place of the one over simulated scenes.
      rngs: not used: the initial parameters are iterations of the solver.

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
        self.layers = nnx.List(self.solver_steps(layers, sparsity))

    @abstractmethod
    def solver_steps(self, layers: int, sparsity: float) -> Iterable[nnx.Module]:
        """The layers with their initial parameters."""
