"""Training steps that were compiled ahead of time, in place of those that a run compiles."""

from dataclasses import dataclass

import jax
from jaxtyping import Array, Float

from distax.compilation.programs import STEPS
from distax.compilation.saving import SavedProgram, SavedPrograms
from distax.runtime.errors import DistaxError
from distax.training.config import TrainConfig
from distax.training.feeds import Batches
from distax.training.state import TrainState
from distax.training.steps import CompiledSteps

_FREE = {"seed", "data", "trackers", "threshold", "log_every", "eval_every", "eval_images"}
"""Fields of a configuration that no program depends on."""


def saved_steps(saved: SavedPrograms, config: TrainConfig) -> dict[int, CompiledSteps]:
    """Returns the saved training steps by the number of steps in a call, for `training.loop.train`.

    Args:
      saved: the programs.
      config: the configuration of the run.

    Raises:
      DistaxError: there are no training steps, or they are those of another configuration.
    """
    if STEPS not in saved.programs:
        raise DistaxError("the saved programs have no training steps; compile with --what train")
    theirs, ours = saved.config.to_dict(), config.to_dict()
    differing = [key for key in ours if key not in _FREE and ours[key] != theirs[key]]
    if differing:
        raise DistaxError(
            "the saved programs were compiled for another configuration (differs in "
            f"{', '.join(differing)}); compile them for this one"
        )
    program = saved.programs[STEPS]
    # Batches come last, with the steps along their first axis.
    return {program.arguments[-1].shape[0]: _SavedSteps(program)}


@dataclass(frozen=True)
class _SavedSteps:
    """Training steps that were saved; see `training.steps.CompiledSteps`."""

    program: SavedProgram

    def __call__(
        self, state: TrainState, batches: Batches
    ) -> tuple[TrainState, Float[Array, " steps"]]:
        after: tuple[TrainState, Array] = jax.tree.unflatten(
            jax.tree.structure((state, 0)), self.program(state, batches)
        )
        return after

    def as_text(self) -> str:
        """Returns the program's text."""
        text: str = self.program.executable.get_hlo_text()
        return text

    def cost_analysis(self) -> dict[str, float]:
        """Returns XLA's own counts by name."""
        counts: dict[str, float] = self.program.executable.cost_analysis()
        return counts
