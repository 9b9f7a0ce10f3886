"""Base class of unfolded models that are trained by the symmetry of their transforms as well."""

from abc import abstractmethod
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from distax.models.unfolding.base import UnfoldingModel
from distax.models.unfolding.dista_stage import StageOutput


class SymmetricModel(UnfoldingModel):
    """A model whose stages have a transform and its inverse. Subclasses define `unroll`.

    Attributes:
      stages: the stages, first to last; `symmetry` of each gives the symmetry residual G(u) − r of
        its output.
      symmetry_weight: weight of the symmetry residuals in the training objective.
    """

    stages: Any
    symmetry_weight: float

    @abstractmethod
    def unroll(self, images: Float[Array, "B height width"]) -> list[StageOutput]:
        """Returns every stage's output, first to last."""

    def iterates(self, images: Float[Array, "B height width"]) -> list[Float[Array, "B nodes"]]:
        """Returns the estimate after every stage, x₀ = Q y first."""
        return [self.initialise(images)[1], *(output.x for output in self.unroll(images))]

    def objective(
        self,
        images: Float[Array, "B height width"],
        grids: Float[Array, "B fine_height fine_width"],
    ) -> Float[Array, ""]:
        """Returns mean (x_N − x*)² + w Σ_k mean (G(u_k) − r_k)², where w is `symmetry_weight`."""
        outputs = self.unroll(images)
        error = jnp.mean((outputs[-1].x - grids.reshape(len(grids), -1)) ** 2)
        symmetry = sum(
            jnp.mean(stage.symmetry(output) ** 2)
            for stage, output in zip(self.stages, outputs, strict=True)
        )
        return error + self.symmetry_weight * symmetry
