"""DISTA-Net: dynamic iterative shrinkage-thresholding, unrolled (ICCV 2025, arXiv 2505.19148).

The stages have two forms of one value. On CPUs and GPUs they are unrolled. On TPUs, `dista_lanes`
computes several samples side by side, in a loop over the stages.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from distax.imaging.sensor import Sensor
from distax.models.registry import register
from distax.models.unfolding import dista_lanes
from distax.models.unfolding.dista_stage import Dynamic, Stage, StageOutput
from distax.models.unfolding.symmetric import SymmetricModel
from distax.runtime.errors import DistaxError, check_positive
from distax.runtime.platforms import evaluate_by_platform


@register("dista")
class Dista(SymmetricModel):
    """DISTA-Net: dynamic iterative shrinkage-thresholding (ICCV 2025, arXiv 2505.19148).

    Args:
      factor: grid nodes per pixel along each axis, odd.
      stages: unrolled iterations, each with its own weights (the paper: 6, and 4 at factor 7).
      channels: number of maps of the transform, even.
      hidden: width of the hypernetwork.
      alpha: weight of the static transform against the dynamic one.
      symmetry_weight: weight of the symmetry residuals in the training objective.
      rematerialize: True to recompute each stage's maps for its gradients instead of storing them:
        less memory for a third more work. On TPUs they are always recomputed: the maps of a stage
        fit into the memory on the chip, those of all stages do not.
      sensor: the imaging model; gives the defaults of Φ and of the initial estimator.
      phi: sampling matrix Φ `[pixels, nodes]`. Default: the sensor's.
      q_init: initial estimator Q `[nodes, pixels]`. Default: fitted to simulated scenes.
      rngs: keys for the initial parameters.

    Raises:
      DistaxError: the factor is even, a size is not positive, the channels are odd, or a
        matrix has the wrong shape.
    """

    dynamic = Dynamic()

    def __init__(
        self,
        *,
        factor: int = 3,
        stages: int = 6,
        channels: int = 64,
        hidden: int = 256,
        alpha: float = 0.7,
        symmetry_weight: float = 0.01,
        rematerialize: bool = False,
        sensor: Sensor = Sensor(),
        phi: Float[Array, "pixels nodes"] | None = None,
        q_init: Float[Array, "nodes pixels"] | None = None,
        rngs: nnx.Rngs,
    ):
        super().__init__(factor, sensor, phi, q_init)
        check_positive(stages=stages, channels=channels, hidden=hidden)
        if channels % 2:
            raise DistaxError(f"channels must be even, got {channels}")
        self.symmetry_weight, self.rematerialize = symmetry_weight, rematerialize
        self.stages = nnx.List(
            Stage(self.shape, channels, hidden, alpha, self.dynamic, rngs) for _ in range(stages)
        )

    def unroll(self, images: Float[Array, "B height width"]) -> list[StageOutput]:
        """Returns every stage's output, first to last."""
        return self._outputs(*self.initialise(images))

    def _outputs(self, y: Array, x: Array) -> list[StageOutput]:
        outputs = []
        for stage in self.stages:
            outputs.append(stage(x, y, self.phi[...]))
            x = outputs[-1].x
        return outputs

    def __call__(
        self, images: Float[Array, "B height width"]
    ) -> Float[Array, "B fine_height fine_width"]:
        y, x = self.initialise(images)
        graphdef, state = nnx.split(self)

        def unrolled(state: nnx.State, x: Array, y: Array) -> Array:
            return nnx.merge(graphdef, state)._outputs(y, x)[-1].x

        def in_lanes(state: nnx.State, x: Array, y: Array) -> Array:
            model = nnx.merge(graphdef, state)
            return dista_lanes.final_estimate(model.stages, x, y, model.phi[...])

        x = jax.lax.platform_dependent(state, x, y, tpu=in_lanes, default=unrolled)
        return x.reshape(-1, *self.shape)

    def objective(
        self,
        images: Float[Array, "B height width"],
        grids: Float[Array, "B fine_height fine_width"],
    ) -> Float[Array, ""]:
        """Returns mean (x_N − x*)² + w Σ_k mean (G(u_k) − r_k)², where w is `symmetry_weight`."""
        y, x = self.initialise(images)
        graphdef, state = nnx.split(self)

        def of(run: Run) -> Callable[..., Float[Array, ""]]:
            def value(state: nnx.State, x: Array, y: Array, grids: Array) -> Float[Array, ""]:
                model = nnx.merge(graphdef, state)
                x, symmetry = run(model, x, y)
                error = jnp.mean((x - grids.reshape(x.shape)) ** 2)
                return error + model.symmetry_weight * symmetry

            return value

        return evaluate_by_platform(
            of(_run_unrolled), {"tpu": of(_run_in_lanes)}, state, x, y, grids
        )


Run = Callable[[Dista, Array, Array], tuple[Array, Array]]
"""Computes the last estimate and the sum of the symmetry terms of all stages."""


def _run_unrolled(model: Dista, x: Array, y: Array) -> tuple[Array, Array]:
    def step(stage: Stage, x: Array) -> tuple[Array, Array]:
        output = stage(x, y, model.phi[...])
        return output.x, jnp.mean(stage.symmetry(output) ** 2)

    run = nnx.remat(step) if model.rematerialize else step
    symmetry = jnp.zeros(())
    for stage in model.stages:
        x, residual = run(stage, x)
        symmetry += residual
    return x, symmetry


def _run_in_lanes(model: Dista, x: Array, y: Array) -> tuple[Array, Array]:
    return dista_lanes.estimate_and_symmetry(model.stages, x, y, model.phi[...])


@register("dista_transform")
class DistaTransform(Dista):
    """DISTA-Net's ablation with the dynamic transform only: one learned threshold per stage."""

    dynamic = Dynamic(threshold=False)


@register("dista_threshold")
class DistaThreshold(Dista):
    """DISTA-Net's ablation with the dynamic threshold only: no hypernetwork, `alpha` not used."""

    dynamic = Dynamic(transform=False)
