"""The training loop: steps, evaluations, checkpoints, and a clean end whatever happens."""

from collections.abc import Iterator

import jax
from etils import epath
from jax.sharding import Mesh

from distax.evaluation import Evaluation, evaluate
from distax.runtime.errors import DistaxError, Terminated
from distax.runtime.sharding import check_divisible, data_mesh, gathered, on_any_process
from distax.runtime.signals import sigterm
from distax.training import checkpoints
from distax.training.checks import check_trainable
from distax.training.config import TrainConfig
from distax.training.data import make_feed, make_held_out
from distax.training.losses import LossLog
from distax.training.reporting import Reporter
from distax.training.state import (
    TrainState,
    abstract_model,
    initial_state,
    make_train_steps,
    merge,
)


def train(
    config: TrainConfig, run: epath.PathLike, resume: bool = False, mesh: Mesh | None = None
) -> Evaluation:
    """Train a model, leaving its last and best checkpoints and its log in a folder.

    Every number is a function of the configuration: a resumed run ends with the parameters it
    would have had without the interruption. On other devices they differ by rounding. Of several
    processes (see `distax.runtime.processes`) all call this with the same arguments.

    Args:
      config: what to train.
      run: the run's folder, or a place in a bucket such as gs://bucket/run.
      resume: go on from the last checkpoint in the folder; `config` must be the run's own.
      mesh: the devices; all devices of all processes without it.

    Returns:
      The best evaluation.

    Raises:
      DistaxError: model and configuration do not suit one another (see `check_trainable`); the
        folder already holds a run, or holds none to resume, or one of another configuration; the
        devices cannot share a batch equally; the loss is not finite; a checkpoint cannot be saved;
        a dataset cannot be read.
      Terminated: SIGTERM arrived at this or another process; the state is saved.
    """
    run, mesh = epath.Path(run), mesh or data_mesh()
    check_divisible(config.batch_size, mesh)
    model = abstract_model(config)
    check_trainable(model, config)
    state, best = _resumed(config, run, mesh) if resume else _started(config, run, mesh)
    steps, start = make_train_steps(config, mesh), int(state.step)
    feed, held_out = make_feed(config, mesh), make_held_out(config)
    # On a CPU executions that overlap compete for its cores, and can wait for one another for ever.
    in_flight = 0 if jax.default_backend() == "cpu" else 1

    with Reporter(run, config.steps, start) as report, sigterm() as asked_to_stop:
        log = LossLog(config, report, str(run))
        spans = list(_spans(start, config))
        for span, batches in zip(spans, feed.batches(spans), strict=False):
            stop = on_any_process(asked_to_stop(), mesh)
            state, losses = steps(state, batches)
            log.add(span, losses, stop)
            done = span.stop
            due = config.evaluates_at(done)
            stopping = log.read(keep=0 if due else in_flight)
            if stopping:
                log.read(keep=0)
                log.flush(done)
            if due:
                model_arrays = gathered((state.params, state.constants), mesh)
                result = evaluate(
                    merge(model, *model_arrays),
                    *held_out,
                    config.sensor,
                    config.threshold,
                    devices=tuple(mesh.devices.flat),
                )
                report.log(done, **result.headline)
                checkpoints.save(run, "last", state, config, result)
                best = _best(best, result, run, state, config)
                report.start_clock(done)
            if stopping and done < config.steps:
                if not due:
                    checkpoints.save(run, "last", state, config, None)
                raise Terminated(f"stopped at step {done} of {config.steps}; saved in {run}")
    if best is None:
        raise DistaxError(f"{run}: nothing left to do, the run has ended without an evaluation")
    return best


def _spans(start: int, config: TrainConfig) -> Iterator[range]:
    """The steps to dispatch together, none across a step at which something is logged."""
    longest = config.steps_per_dispatch or (1 if jax.default_backend() == "cpu" else 50)
    while start < config.steps:
        ends = (
            start - start % every + every
            for every in (longest, config.log_every, config.eval_every)
        )
        stop = min(*ends, config.steps)
        yield range(start, stop)
        start = stop


def _started(
    config: TrainConfig, run: epath.Path, mesh: Mesh
) -> tuple[TrainState, Evaluation | None]:
    """The state of a run before its first step."""
    if checkpoints.holds_run(run):
        raise DistaxError(f"{run}: already holds a run; resume it or choose another folder")
    return initial_state(config, mesh), None


def _resumed(
    config: TrainConfig, run: epath.Path, mesh: Mesh
) -> tuple[TrainState, Evaluation | None]:
    """The last state of a run, and its best evaluation so far."""
    saved, latest = checkpoints.read_about(run, "last")
    if saved != config:
        theirs, ours = saved.to_dict(), config.to_dict()
        differing = ", ".join(key for key in ours if ours[key] != theirs[key])
        raise DistaxError(
            f"{run}: the run to resume has another configuration (differs in {differing}); "
            "resume without changing it, or start another run"
        )
    state = checkpoints.load_state(run, config, mesh)
    best = checkpoints.read_about(run, "best")[1] if checkpoints.holds(run, "best") else None
    # The interruption may have come between the two.
    return state, _best(best, latest, run, state, config)


def _best(
    before: Evaluation | None,
    latest: Evaluation | None,
    run: epath.Path,
    state: TrainState,
    config: TrainConfig,
) -> Evaluation | None:
    """The better of two evaluations; the latest is saved with its state if that is it."""
    if latest is None or (before and latest.cso_map_by_score <= before.cso_map_by_score):
        return before
    checkpoints.save(run, "best", state, config, latest)
    return latest
