"""The state of a training run: all arrays that its steps change."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Int

from distax.models import Model
from distax.runtime.pytree import pytree
from distax.runtime.sharding import with_shardings
from distax.training.optimizer import Averaged


@pytree
class TrainState:
    """All arrays that training changes, and the model's constants.

    Attributes:
      step: steps done, which is also the position in the data.
      params: the model's trained arrays.
      constants: its other arrays, such as Φ and Q, and running statistics.
      opt_state: the optimiser's arrays.
    """

    step: Int[Array, ""]
    params: nnx.State
    constants: nnx.State
    opt_state: optax.OptState


def evaluated_params(state: TrainState) -> nnx.State:
    """Returns the parameters to evaluate and store: their average if the optimiser keeps one."""
    if isinstance(state.opt_state, Averaged):
        average: nnx.State = state.opt_state.average
        return average
    return state.params


def init_state(model: Model, optimizer: optax.GradientTransformation) -> TrainState:
    """Creates the state before the first step. It shares the model's arrays."""
    return _first_state(optimizer, *nnx.state(model, nnx.Param, ...))


def _first_state(
    optimizer: optax.GradientTransformation, params: nnx.State, constants: nnx.State
) -> TrainState:
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        constants=constants,
        opt_state=optimizer.init(params),
    )


def abstract_state(
    model: Model, optimizer: optax.GradientTransformation, mesh: Mesh, shard: bool
) -> TrainState:
    """Derives the state's shapes, types and shardings without computing any array.

    Args:
      model: the abstract model.
      optimizer: the optimiser.
      mesh: the devices.
      shard: as for `distax.runtime.sharding.state_shardings`.
    """
    make = partial(_first_state, optimizer)
    shapes = jax.eval_shape(make, *nnx.state(model, nnx.Param, ...))
    return with_shardings(shapes, mesh, shard)


def initial_state(
    make_model: Callable[[], Model], optimizer: optax.GradientTransformation, abstract: TrainState
) -> TrainState:
    """Creates the state before the first step, with its shardings.

    On several devices one compiled program makes the arrays. Each device computes only the parts
    that it stores, so a sharded state need not fit in one device's memory.

    Args:
      make_model: creates the model with initial parameters.
      optimizer: the optimiser.
      abstract: shapes and shardings; see `abstract_state`.
    """
    shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract)

    def make() -> TrainState:
        return init_state(make_model(), optimizer)

    if abstract.step.sharding.num_devices == 1:
        # Hundreds of layers as one program take XLA minutes to compile. When they are made one by
        # one, layers may share an array that they start with. A step donates each array to XLA, so
        # each needs a buffer of its own.
        copies = jax.tree.map(partial(jnp.array, copy=True), make())
        return jax.device_put(copies, shardings)
    return jax.jit(make, out_shardings=shardings)()


def merge(model: Model, params: nnx.State, constants: nnx.State) -> Model:
    """Makes a model of the same architecture with other arrays; `model` may be abstract."""
    return nnx.merge(nnx.graphdef(model), params, constants)
