"""Parts of a training run, built once from its configuration: model, optimiser, feed and steps."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float

from distax.evaluation import Evaluation, SequenceProtocol, evaluate, evaluate_sequences
from distax.imaging.scenes import ScenePrior
from distax.imaging.targets import Targets
from distax.models import GridModel, Model, SequenceModel
from distax.runtime.errors import DistaxError
from distax.runtime.pytree import named_leaves
from distax.runtime.sharding import check_divisible
from distax.training.building import abstract_model, create_model
from distax.training.config import TrainConfig
from distax.training.data import make_feed, make_held_out
from distax.training.feeds import Feed
from distax.training.optimizer import make_optimizer
from distax.training.state import TrainState, abstract_state, initial_state
from distax.training.steps import TrainSteps, make_train_steps


@dataclass(frozen=True)
class Setup:
    """The parts of a training run that stay the same while it trains.

    The changing arrays are in a `TrainState`, which the loop passes from step to step.

    Attributes:
      config: the configuration that the parts were built from.
      mesh: the devices.
      model: the abstract model: shapes in place of arrays.
      optimizer: the optimiser with its schedule and gradient clipping.
      abstract_state: shapes, types and shardings of the training state.
      train_steps: the compiled function that does the steps; see `make_train_steps`.
      feed: the training batches.
      held_out: raw images `[N, height, width]` or sequences `[N, frames, height, width]` for
        evaluation, and their targets, as NumPy arrays.
    """

    config: TrainConfig
    mesh: Mesh
    model: Model
    optimizer: optax.GradientTransformation
    abstract_state: TrainState
    train_steps: TrainSteps
    feed: Feed
    held_out: tuple[Float[np.ndarray, "N *row"], Targets]

    def initial_state(self, start: Mapping[str, Array] = MappingProxyType({})) -> TrainState:
        """Creates the state before the first step; see `distax.training.state.initial_state`.

        Args:
          start: arrays of the model by name, in place of its initial ones. Default: none.
        """
        make_model = partial(create_model, self.config, start)
        return initial_state(make_model, self.optimizer, self.abstract_state)


def build(config: TrainConfig, mesh: Mesh) -> Setup:
    """Builds the parts of a training run and checks that they fit one another.

    Raises:
      DistaxError: the devices cannot share a batch equally; the model cannot be trained or does
        not suit the prior or the threshold (see `check_trainable`); a dataset cannot be read.
    """
    check_divisible(config.batch_size, mesh)
    model = abstract_model(config)
    check_trainable(model, config.model.name, config.prior, config.threshold)
    optimizer = make_optimizer(config.optimizer, config.steps)
    return Setup(
        config=config,
        mesh=mesh,
        model=model,
        optimizer=optimizer,
        abstract_state=abstract_state(model, optimizer, mesh, config.shard_state),
        train_steps=make_train_steps(model, optimizer, mesh, config.shard_state),
        feed=make_feed(config, mesh),
        held_out=make_held_out(config),
    )


def check_trainable(model: Model, name: str, prior: ScenePrior, threshold: float) -> None:
    """Checks that a model can be trained, before the run takes any time.

    Args:
      model: the model, which may be abstract.
      name: its registered name, for error messages.
      prior: the scenes to train on.
      threshold: counts that a node of a grid model needs to be reported.

    Raises:
      DistaxError: the model has no parameters, or keeps random keys; it does not suit the prior's
        scenes; no target reaches the threshold.
    """
    if not jax.tree.leaves(nnx.state(model, nnx.Param)):
        raise DistaxError(
            f"the model {name} has nothing to train; use it as it is, for instance by "
            f"--checkpoint {name}"
        )
    for path, leaf in named_leaves(nnx.state(model)).items():
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            raise DistaxError(
                f"the model {name} keeps a random key ({path}), but its output must be a function "
                "of the images alone: use rngs in the constructor only, and no dropout"
            )
    model.check_prior(prior)
    if isinstance(model, GridModel | SequenceModel) and threshold >= prior.max_intensity:
        raise DistaxError(
            f"no target reaches the threshold of {threshold:g} counts, as the prior's "
            f"brightest has {prior.max_intensity:g}; lower the threshold"
        )


def evaluate_held_out(setup: Setup, model: Model) -> Evaluation:
    """Evaluates a model on a run's held-out images, or on the frames of its held-out sequences.

    Every frame that a model of sequences answers is scored.
    """
    config, devices = setup.config, tuple(setup.mesh.devices.flat)
    if isinstance(model, SequenceModel):
        protocol = SequenceProtocol(config.threshold, margin=model.reach)
        scored = evaluate_sequences(
            model, *setup.held_out, config.sensor, protocol, devices=devices
        )
        return scored.frames
    return evaluate(model, *setup.held_out, config.sensor, config.threshold, devices=devices)
