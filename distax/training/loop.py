"""The training loop: steps, evaluations, checkpoints, and a clean end whatever happens."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import jax
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from distax.config import TrainConfig
from distax.errors import DistaxError, Terminated
from distax.evaluation import Evaluation, evaluate
from distax.scenes import simulate
from distax.training import checkpoints
from distax.training.feeds import Batch, Feed, MemoryFeed, SimulatedFeed, StreamFeed
from distax.training.reporting import Reporter
from distax.training.state import (
    TrainState,
    abstract_model,
    create_model,
    init_state,
    make_optimizer,
    make_train_step,
    merge,
)


def train(config: TrainConfig, run: Path, resume: bool = False) -> Evaluation:
    """Train a model, leaving its last and best checkpoints and its log in a folder.

    Every number is a function of the configuration: a resumed run ends with the parameters it
    would have had without the interruption.

    Args:
      config: what to train.
      run: the run's folder.
      resume: go on from the last checkpoint in the folder; `config` must be the run's own.

    Returns:
      The best evaluation.

    Raises:
      DistaxError: the folder already holds a run, or holds none to resume, or one of another
        configuration; the loss is not finite; a checkpoint cannot be saved; a dataset cannot be
        read.
      Terminated: SIGTERM arrived; the state is saved.
    """
    optimizer = make_optimizer(config.optimizer, config.steps)
    if resume:
        state, best = _resumed(config, run)
    elif any((run / which).is_dir() for which in ("best", "last")):
        raise DistaxError(f"{run}: already holds a run; resume it or choose another folder")
    else:
        state, best = init_state(create_model(config), optimizer), None
    step, start = make_train_step(config), int(state.step)
    feed, held_out = make_feed(config), make_held_out(config)
    model = abstract_model(config)

    with Reporter(run, config.steps, start) as report, _sigterm() as asked_to_stop:
        losses: list[Array] = []
        for done, batch in zip(
            range(start + 1, config.steps + 1), feed.batches(start), strict=False
        ):
            state, loss = step(state, batch)
            losses.append(loss)
            last, stop = done == config.steps, asked_to_stop()
            due = last or done % config.eval_every == 0
            if due or stop or done % config.log_every == 0:
                mean = _mean_finite(losses, done, run)
                losses.clear()
                speed = report.images_per_second(done, config.batch_size)
                report.log(done, loss=mean, images_per_second=speed)
            if due:
                result = evaluate(
                    merge(model, state.params, state.constants), *held_out, config.sensor
                )
                report.log(done, **result.headline)
                if best is None or result.cso_map_by_score > best.cso_map_by_score:
                    best = result
                    checkpoints.save(run, "best", state, config, result)
                checkpoints.save(run, "last", state, config, result)
                report.start_clock(done)
            if stop and not last:
                if not due:
                    checkpoints.save(run, "last", state, config, None)
                raise Terminated(f"stopped at step {done} of {config.steps}; saved in {run}")
    if best is None:
        raise DistaxError(f"{run}: nothing left to do, the run has ended without an evaluation")
    return best


def make_feed(config: TrainConfig) -> Feed:
    """The configured source of training batches.

    Raises:
      DistaxError: the dataset is not there or cannot be read.
    """
    key = _key(config, "batches")
    if config.data.dataset is None:
        return SimulatedFeed(key, config.batch_size, config.sensor, config.law)

    from distax.datasets import csist100k

    source = csist100k.open_split(config.data.dataset, "train", config.data.data_dir)
    if config.data.feed == "stream":
        return StreamFeed(source, csist100k.record_to_example, key, config.batch_size)
    images, targets = jax.device_put(csist100k.read_split(source))
    return MemoryFeed(images, targets, key, config.batch_size)


def make_held_out(config: TrainConfig) -> Batch:
    """Images for evaluation that training never sees, and their targets.

    Raises:
      DistaxError: the dataset is not there or cannot be read.
    """
    if config.data.dataset is None:
        key = _key(config, "held-out")
        return simulate(key, config.eval_images, config.sensor, config.law)

    from distax.datasets import csist100k

    source = csist100k.open_split(config.data.dataset, "validation", config.data.data_dir)
    data = csist100k.read_split(source)
    return jax.tree.map(lambda leaf: jax.numpy.asarray(leaf[: config.eval_images]), data)


def _key(config: TrainConfig, purpose: str) -> PRNGKeyArray:
    purposes = ("batches", "held-out")
    return jax.random.fold_in(jax.random.key(config.seed), purposes.index(purpose))


def _resumed(config: TrainConfig, run: Path) -> tuple[TrainState, Evaluation | None]:
    """The last state of a run, and its best evaluation so far."""
    saved, _ = checkpoints.read_about(run, "last")
    if saved != config:
        theirs, ours = saved.to_dict(), config.to_dict()
        differing = ", ".join(key for key in ours if ours[key] != theirs[key])
        raise DistaxError(
            f"{run}: the run to resume has another configuration (differs in {differing}); "
            "resume without changing it, or start another run"
        )
    best = checkpoints.read_about(run, "best")[1] if (run / "best").is_dir() else None
    return checkpoints.load_state(run, config), best


def _mean_finite(losses: list[Array], done: int, run: Path) -> float:
    """Mean of the losses of the steps up to `done`, none of which may be NaN or infinite."""
    values = np.asarray(jax.device_get(losses))
    if not np.isfinite(values).all():
        step = done - len(values) + 1 + int(np.argmin(np.isfinite(values)))
        raise DistaxError(
            f"{run}: the loss is {values[~np.isfinite(values)][0]} at step {step}; the last good "
            "checkpoint is kept: lower the learning rate or look at the data"
        )
    return float(values.mean())


@contextmanager
def _sigterm() -> Iterator[Callable[[], bool]]:
    """Within the block SIGTERM only sets a flag, which the yielded function reads."""
    asked = False

    def handler(signum: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True

    previous = signal.signal(signal.SIGTERM, handler)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGTERM, previous)
