"""The state of a training run, and the steps that change it."""

from collections.abc import Callable
from functools import partial
from operator import itemgetter

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from distax import models
from distax.models import Model
from distax.models.plugin import import_module_file
from distax.models.rngs import parameter_rngs
from distax.runtime.pytree import pytree
from distax.runtime.sharding import state_shardings, with_shardings
from distax.training.config import OptimizerConfig, TrainConfig
from distax.training.feeds import Batch, Batches


@pytree
class TrainState:
    """All that changes in training, and the constants that belong to the model.

    Attributes:
      step: steps done, which is also the position in the data.
      params: the model's trained arrays.
      constants: its other arrays, such as Φ and Q, and running statistics.
      opt_state: the optimiser's.
    """

    step: Int[Array, ""]
    params: nnx.State
    constants: nnx.State
    opt_state: optax.OptState


def create_model(config: TrainConfig) -> Model:
    """The configured model with initial parameters.

    Raises:
      DistaxError: as `models.create`, or the configured module cannot be imported.
    """
    if config.model.module is not None:
        import_module_file(config.model.module)
    grid = {} if config.model.factor is None else {"factor": config.model.factor}
    return models.create(
        config.model.name,
        sensor=config.sensor,
        rngs=parameter_rngs(config.seed),
        **grid,
        **config.model.options,
    )


def abstract_model(config: TrainConfig) -> Model:
    """The configured model with shapes in place of arrays, at no cost."""
    return nnx.eval_shape(lambda: create_model(config))


def make_optimizer(config: OptimizerConfig, steps: int) -> optax.GradientTransformation:
    """Adam with the configured learning rate over `steps` steps, its gradients clipped if asked."""
    peak, warmup = config.learning_rate, config.warmup_steps
    after: optax.Schedule = optax.constant_schedule(peak)
    if config.decay == "cosine":
        after = optax.cosine_decay_schedule(peak, max(steps - warmup, 1), alpha=0.01)
    rise = optax.linear_schedule(0.0, peak, warmup)
    adam = optax.adam(optax.join_schedules([rise, after], [warmup]) if warmup else after)
    if config.clip_norm is None:
        return adam
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), adam)


def init_state(model: Model, optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first step."""
    params, constants = nnx.state(model, nnx.Param, ...)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        constants=constants,
        opt_state=optimizer.init(params),
    )


def initial_state(config: TrainConfig, mesh: Mesh) -> TrainState:
    """The state before the first step, made where it is to lie."""
    where = jax.tree.map(lambda leaf: leaf.sharding, abstract_state(config, mesh))
    make = partial(_make_state, config)
    if mesh.size == 1:
        # Hundreds of layers as one program take XLA minutes to compile. Made one by one, layers may
        # share an array that they start with; a step consumes each, so each must be its own.
        own = jax.tree.map(partial(jnp.array, copy=True), make())
        return jax.device_put(own, where)
    return jax.jit(make, out_shardings=where)()


def abstract_state(config: TrainConfig, mesh: Mesh) -> TrainState:
    """The state's shapes and where it is to lie, at no cost."""
    return with_shardings(jax.eval_shape(partial(_make_state, config)), mesh, config.shard_state)


def _make_state(config: TrainConfig) -> TrainState:
    return init_state(create_model(config), make_optimizer(config.optimizer, config.steps))


def merge(model: Model, params: nnx.State, constants: nnx.State) -> Model:
    """The model with other arrays; `model` may be abstract."""
    return nnx.merge(nnx.graphdef(model), params, constants)


def make_train_steps(
    config: TrainConfig, mesh: Mesh
) -> Callable[[TrainState, Batches], tuple[TrainState, Float[Array, " steps"]]]:
    """The function (state, batches) → (state, losses) that does a step for each batch.

    It consumes the state it is given.
    """
    return partial(
        _train_steps,
        graphdef=nnx.graphdef(abstract_model(config)),
        optimizer=config.optimizer,
        steps=config.steps,
        mesh=mesh,
        shard_state=config.shard_state,
    )


# Static arguments that compare by value, so that equal runs in one process compile once.
@partial(
    jax.jit,
    donate_argnames="state",
    static_argnames=("graphdef", "optimizer", "steps", "mesh", "shard_state"),
)
def _train_steps(
    state: TrainState,
    batches: Batches,
    graphdef: nnx.GraphDef[Model],
    optimizer: OptimizerConfig,
    steps: int,
    mesh: Mesh,
    shard_state: bool,
) -> tuple[TrainState, Float[Array, " steps"]]:
    update = make_optimizer(optimizer, steps).update
    where = state_shardings(state, mesh, shard_state)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Float[Array, ""]]:
        def loss(params: nnx.State) -> tuple[Float[Array, ""], nnx.State]:
            # Running statistics are written to: they must be this function's own.
            model = nnx.merge(graphdef, params, state.constants, copy=True)
            model.train()
            value = model.loss(*batch)
            # Running statistics change in a step; all else stays.
            return value, nnx.state(model, nnx.Not(nnx.Param))

        (value, constants), gradients = jax.value_and_grad(loss, has_aux=True)(state.params)
        updates, opt_state = update(gradients, state.opt_state, state.params)
        state = TrainState(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            constants=constants,
            opt_state=opt_state,
        )
        return jax.lax.with_sharding_constraint(state, where), value

    if len(batches[0]) > 1:
        return jax.lax.scan(step, state, batches)
    # XLA's gradients of convolutions are very slow inside a loop on CPUs.
    state, value = step(state, jax.tree.map(itemgetter(0), batches))
    return state, value[None]
