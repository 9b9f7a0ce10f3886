"""The optimiser of a run: Adam or AdamW, with schedule, clipping, accumulation and averaging."""

from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from distax.training.config import OptimizerConfig

_FINAL = 0.01
"""Learning rate at the end of a schedule, relative to its peak."""
_FALL = 0.2
"""Share of the updates in which the learning rate falls at the end of "wsd". A shorter fall leaves
more noise in the parameters (Hägele et al. 2024, arXiv 2405.18392)."""


class Averaged(NamedTuple):
    """State of an optimiser whose parameters are averaged.

    Attributes:
      inner: the optimiser's own state.
      average: exponential moving average of the parameters.
      updates: number of updates.
    """

    inner: optax.OptState
    average: optax.Params
    updates: Int[Array, ""]


# The compiled steps take the optimiser as a static argument, which jit compares by identity. With
# the cache, equal runs in one process have the same optimiser and compile once.
@cache
def make_optimizer(config: OptimizerConfig, steps: int) -> optax.GradientTransformation:
    """Makes the configured optimiser.

    It is Adam (Kingma & Ba 2015, arXiv 1412.6980), or AdamW if the weight decay is not 0
    (Loshchilov & Hutter 2019, arXiv 1711.05101). Only kernels decay: biases, slopes and step sizes
    do not. If `clip_norm` is set, gradients of a larger global norm are first scaled down to it.

    Args:
      config: the configuration.
      steps: number of steps of the run, each with one batch.
    """
    rate = _schedule(config, max(steps // config.accumulate, 1))
    if config.weight_decay:
        kernels = _is_kernel
        optimizer = optax.adamw(rate, weight_decay=config.weight_decay, mask=kernels)
    else:
        optimizer = optax.adam(rate)
    if config.clip_norm is not None:
        optimizer = optax.chain(optax.clip_by_global_norm(config.clip_norm), optimizer)
    if config.accumulate > 1:
        several = optax.MultiSteps(optimizer, config.accumulate)
        optimizer = several.gradient_transformation()
    if config.average is not None:
        optimizer = _averaging(optimizer, config.average)
    return optimizer


def _schedule(config: OptimizerConfig, updates: int) -> optax.ScalarOrSchedule:
    """Makes the learning rate: it rises linearly from zero, then stays or falls."""
    peak, warmup = config.learning_rate, config.warmup_steps // config.accumulate
    after: optax.Schedule = optax.constant_schedule(peak)
    if config.decay == "cosine":
        after = optax.cosine_decay_schedule(peak, max(updates - warmup, 1), alpha=_FINAL)
    elif config.decay == "wsd":
        fall = max(round(_FALL * updates), 1)
        falling = optax.linear_schedule(peak, _FINAL * peak, fall)
        after = optax.join_schedules([after, falling], [max(updates - warmup - fall, 0)])
    if not warmup:
        return after
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), after], [warmup])


def _is_kernel(params: optax.Params) -> Any:
    return jax.tree.map(lambda leaf: jnp.ndim(leaf) > 1, params)


def _averaging(
    optimizer: optax.GradientTransformation, decay: float
) -> optax.GradientTransformation:
    """Adds an exponential moving average of the parameters, with a shorter memory at the start."""

    def init(params: optax.Params) -> Averaged:
        average = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), params)
        return Averaged(optimizer.init(params), average, jnp.zeros((), jnp.int32))

    def update(
        gradients: optax.Updates, state: optax.OptState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.OptState]:
        assert isinstance(state, Averaged)
        assert params is not None
        updates, inner = optimizer.update(gradients, state.inner, params)
        kept = jnp.minimum(decay, (1 + state.updates) / (10 + state.updates))
        average = optax.incremental_update(
            optax.apply_updates(params, updates), state.average, 1 - kept
        )
        return updates, Averaged(inner, average, state.updates + 1)

    return optax.GradientTransformation(init, update)
