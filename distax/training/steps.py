"""Steps of training: compiled programs that take a state and batches to the next state."""

from collections.abc import Callable, Mapping
from functools import cached_property, partial
from operator import itemgetter
from typing import Any, Protocol, runtime_checkable

import jax
import optax
from flax import nnx
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float

from distax.costs import cost_of, find_peak, parse
from distax.models import Model
from distax.runtime.sharding import mean_over_devices, sharded, state_shardings
from distax.training.config import TrainConfig
from distax.training.feeds import Batch, Batches
from distax.training.state import TrainState

TrainSteps = Callable[[TrainState, Batches], tuple[TrainState, Float[Array, " steps"]]]
"""Does a step for each batch: (state, batches) → (state, losses). The given state is donated."""


def steps_a_dispatch(config: TrainConfig, platform: str) -> int:
    """Returns the number of steps that devices of a platform take in one call from the host.

    With more steps in a call, less time is lost between calls, but SIGTERM and the log wait for the
    whole call. On a CPU the loop over steps is slow; see `_train_steps`.
    """
    return config.steps_per_dispatch or (1 if platform == "cpu" else 50)


def make_train_steps(
    model: Model, optimizer: optax.GradientTransformation, mesh: Mesh, shard: bool
) -> TrainSteps:
    """Makes the compiled function that does one training step for each batch.

    Args:
      model: the model, which may be abstract; only its architecture is used.
      optimizer: the optimiser.
      mesh: the devices.
      shard: as for `distax.runtime.sharding.state_shardings`.
    """
    graphdef = nnx.graphdef(model)
    return partial(_train_steps, graphdef=graphdef, optimizer=optimizer, mesh=mesh, shard=shard)


def lower_train_steps(train_steps: TrainSteps, state: Any, batches: Any) -> jax.stages.Lowered:
    """Lowers steps that `make_train_steps` made.

    Args:
      train_steps: the steps.
      state: a `TrainState`, with arrays or with their shapes and shardings.
      batches: `Batches`, likewise.
    """
    assert isinstance(train_steps, partial)
    function: Any = train_steps.func
    lowered: jax.stages.Lowered = function.lower(state, batches, **train_steps.keywords)
    return lowered


@runtime_checkable
class CompiledSteps(Protocol):
    """A compiled program of training steps, as `jax.stages.Compiled` is."""

    def __call__(
        self, state: TrainState, batches: Batches
    ) -> tuple[TrainState, Float[Array, " steps"]]:
        """Does the steps; see `TrainSteps`."""

    def as_text(self) -> str | None:
        """Returns the program's text."""

    def cost_analysis(self) -> Any:
        """Returns XLA's own counts by name."""


class StepPrograms:
    """Does training steps, with one compiled program for each number of steps in a call.

    Args:
      train_steps: the steps, as `make_train_steps` makes them.
      mesh: the devices.
      compiled: programs that are compiled already, by the number of steps.
    """

    def __init__(
        self,
        train_steps: TrainSteps,
        mesh: Mesh,
        compiled: Mapping[int, CompiledSteps] | None = None,
    ):
        self._train_steps, self._device = train_steps, mesh.devices.flat[0]
        self._compiled: dict[int, CompiledSteps] = dict(compiled or {})

    def __call__(
        self, state: TrainState, batches: Batches
    ) -> tuple[TrainState, Float[Array, " steps"]]:
        steps = len(batches[0])
        if steps not in self._compiled:
            lowered = lower_train_steps(self._train_steps, state, batches)
            self._compiled[steps] = lowered.compile()
        return self._compiled[steps](state, batches)

    def utilisation(self, step_seconds: float) -> float | None:
        """Returns the share of the device's peak in bfloat16 that steps of this duration reach.

        Returns None if the peak is not known, as for CPUs, or if nothing is compiled yet.
        """
        if self._seconds_at_peak is None:
            return None
        return self._seconds_at_peak / step_seconds

    @cached_property
    def _seconds_at_peak(self) -> float | None:
        """Time of a step if the device did nothing but its operations, at the peak."""
        peak = find_peak(self._device.device_kind)
        if peak is None or not self._compiled:
            return None
        steps, program = next(iter(self._compiled.items()))
        if self._device.platform == "tpu":
            return cost_of(parse(program.as_text() or "")).flops / steps / peak
        # XLA counts the loop over steps once, and on these platforms models have no loops.
        return program.cost_analysis().get("flops", 0.0) / peak


@partial(
    jax.jit,
    donate_argnames="state",
    static_argnames=("graphdef", "optimizer", "mesh", "shard"),
)
def _train_steps(
    state: TrainState,
    batches: Batches,
    graphdef: nnx.GraphDef[Model],
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    shard: bool,
) -> tuple[TrainState, Float[Array, " steps"]]:
    shardings = state_shardings(state, mesh, shard)
    apart = partial(_differentiate_apart, mesh=mesh)
    differentiate = apart if _is_mean(state) else _differentiate

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Float[Array, ""]]:
        value, constants, gradients = differentiate(state, batch, graphdef)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        state = TrainState(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            constants=constants,
            opt_state=opt_state,
        )
        # Without the constraint jit could choose other shardings for the new state, and the next
        # call would compile again.
        return jax.lax.with_sharding_constraint(state, shardings), value

    if len(batches[0]) > 1:
        return jax.lax.scan(step, state, batches)
    # A single step stays out of a loop: inside one, XLA's gradients of convolutions are very slow
    # on CPUs.
    state, value = step(state, jax.tree.map(itemgetter(0), batches))
    return state, value[None]


Differentiated = tuple[Float[Array, ""], nnx.State, nnx.State]
"""The loss, the constants with new running statistics, and the gradients."""


def _is_mean(state: TrainState) -> bool:
    """Returns True if the loss is a mean over images, so that devices can compute equal shares.

    It is not with batch normalisation, where an image's loss depends on the whole batch.
    """
    return not any(
        isinstance(variable, nnx.BatchStat) for _, variable in nnx.to_flat_state(state.constants)
    )


def _differentiate(
    state: TrainState, batch: Batch, graphdef: nnx.GraphDef[Model]
) -> Differentiated:
    """Differentiates the loss of a batch as a whole."""

    def loss(params: nnx.State) -> tuple[Float[Array, ""], nnx.State]:
        # The model writes its running statistics. With a copy it writes to arrays of this
        # function only.
        model = nnx.merge(graphdef, params, state.constants, copy=True)
        model.train()
        value = model.loss(*batch)
        # Running statistics have changed now; the other constants are the same.
        return value, nnx.state(model, nnx.Not(nnx.Param))

    (value, constants), gradients = jax.value_and_grad(loss, has_aux=True)(state.params)
    return value, constants, gradients


def _differentiate_apart(
    state: TrainState, batch: Batch, graphdef: nnx.GraphDef[Model], mesh: Mesh
) -> Differentiated:
    """Differentiates the loss of each device's share, and averages over devices.

    `jit` would sum the gradients over devices layer by layer, in the precision of each layer. Here
    one all-reduce sums all gradients in float32, and each device may divide its share as it likes.
    """

    def of_share(state: TrainState, batch: Batch) -> tuple[Array, nnx.State]:
        value, _, gradients = _differentiate(state, batch, graphdef)
        averaged: tuple[Array, nnx.State] = mean_over_devices((value, gradients), mesh)
        return averaged

    everywhere = PartitionSpec()
    value, gradients = jax.shard_map(
        of_share,
        mesh=mesh,
        in_specs=(everywhere, sharded(mesh).spec),
        out_specs=everywhere,
        check_vma=False,
    )(state, batch)
    return value, state.constants, gradients
