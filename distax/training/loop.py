"""The training loop: steps, evaluations and checkpoints, and a saved state when it is stopped."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import jax
from etils import epath
from jax.sharding import Mesh

from distax.evaluation import Evaluation, evaluate
from distax.runtime.buckets import as_path
from distax.runtime.errors import DistaxError, Terminated
from distax.runtime.sharding import data_mesh, gathered, on_any_process, platform
from distax.runtime.signals import sigterm
from distax.training import checkpoints
from distax.training.config import TrainConfig
from distax.training.goodput import Goodput
from distax.training.profiling import Profile
from distax.training.reporting import LossLog, Reporter
from distax.training.saving import Saver
from distax.training.setup import Setup, build
from distax.training.state import (
    CompiledSteps,
    StepPrograms,
    TrainState,
    evaluated_params,
    merge,
    steps_a_dispatch,
)
from distax.training.trackers import Tracker, open_trackers


def train(
    config: TrainConfig,
    run: epath.PathLike,
    resume: bool = False,
    mesh: Mesh | None = None,
    profile: range = range(0),
    compiled: Mapping[int, CompiledSteps] | None = None,
    trackers: Sequence[Tracker] = (),
) -> Evaluation:
    """Trains a model and writes its last and best checkpoints and its log to a folder.

    Every number is a function of the configuration: a resumed run ends with the parameters it
    would have had without the interruption. On other devices they differ by rounding. With several
    processes (see `distax.runtime.processes`) all call this with the same arguments.

    Args:
      config: the run's configuration.
      run: the run's folder, or a place in a bucket such as gs://bucket/run.
      resume: continue from the last checkpoint in the folder; `config` must be the run's own.
      mesh: the devices. Default: all devices of all processes.
      profile: steps to trace, counted from 0; the trace is in the run's folder `profile`.
      compiled: programs of the steps by the number of steps in a call, such as
        `compilation.saved_steps` loads. Default: compile them.
      trackers: trackers of the caller, beside those that the configuration names. They are closed
        at the end.

    Returns:
      The best evaluation.

    Raises:
      DistaxError: model and configuration do not fit one another (see
        `distax.training.setup.build`); the folder already holds a run, or holds none to resume, or
        one of another configuration; the devices cannot share a batch equally; the loss is not
        finite; a checkpoint cannot be saved; a dataset cannot be read.
      Terminated: this or another process received SIGTERM; the state is saved.
    """
    run, mesh, goodput = as_path(run), mesh or data_mesh(), Goodput()
    _check_folder(run, config, resume)
    with goodput.spend("compiling"):
        setup = build(config, mesh)

    # Dispatches that the devices compute while the host reads the losses of earlier ones. On a CPU
    # executions that overlap compete for its cores, and can wait for one another for ever.
    in_flight = 0 if platform(mesh) == "cpu" else 1
    per_dispatch = steps_a_dispatch(config, platform(mesh))

    with goodput.reported(run / "goodput.json"), Saver(run, config) as saver:

        def save(which: checkpoints.Which, state: TrainState, result: Evaluation | None) -> None:
            with goodput.spend("saving"):
                saver.save(which, state, result)

        state, best = _begin(setup, run, resume, save, goodput)
        start = int(state.step)
        with (
            Reporter(_open_trackers(config, run, start, trackers), config.steps, start) as report,
            sigterm() as asked_to_stop,
            closing(Profile(run / "profile", profile)) as trace,
        ):
            steps = StepPrograms(setup.train_steps, mesh, compiled)
            log = LossLog(
                report, str(run), config.batch_size, mesh.size, config.logs_at, steps.utilisation
            )
            spans = list(
                _spans(
                    range(start, config.steps), (per_dispatch, config.log_every, config.eval_every)
                )
            )
            feed = setup.feed.batches(spans)
            for span in spans:
                # The first dispatch of a length is compiled, the next ones are not.
                known = len(span) in steps
                with goodput.spend("waiting_for_input" if known else "compiling"):
                    batches = next(feed)
                trace.before(span)
                # All processes must stop after the same step. So they exchange the flag with the
                # step and all act on it when they read that step's losses.
                stop = on_any_process(asked_to_stop(), mesh)
                with goodput.spend("steps" if known else "compiling"):
                    state, losses = steps(state, batches)
                    log.add(span, losses, stop, timed=known)
                    done = span.stop
                    due, traced = config.evaluates_at(done), trace.is_over_after(span)
                    waits = due or traced or not known
                    stopping = log.read(keep=0 if waits else in_flight)
                    if stopping:
                        log.read(keep=0)
                        log.flush(done)
                if traced:
                    trace.close()
                if due:
                    with goodput.spend("evaluating"):
                        result = _evaluate(setup, state)
                    report.log(done, **result.headline)
                    report.flush()
                    save("last", state, result)
                    best = _keep_better(best, result, state, save)
                    report.start_clock(done)
                    log.start_clock()
                if stopping and done < config.steps:
                    if not due:
                        report.flush()
                        save("last", state, None)
                    with goodput.spend("saving"):
                        saver.wait()
                    raise Terminated(f"stopped at step {done} of {config.steps}; saved in {run}")
        with goodput.spend("saving"):
            saver.wait()
    if best is None:
        raise DistaxError(f"{run}: nothing left to do, the run has ended without an evaluation")
    return best


def _open_trackers(
    config: TrainConfig, run: Path, start: int, others: Sequence[Tracker]
) -> list[Tracker]:
    """Opens the configured trackers, and gives the configuration to all; none but on process 0."""
    if jax.process_index():
        return []
    trackers = [*open_trackers(config.trackers, run, start), *others]
    for tracker in trackers:
        tracker.describe(config.to_dict())
    return trackers


Save = Callable[[checkpoints.Which, TrainState, Evaluation | None], None]
"""Saves a state as one kind of checkpoint, with its evaluation or None."""


def _begin(
    setup: Setup, run: Path, resume: bool, save: Save, goodput: Goodput
) -> tuple[TrainState, Evaluation | None]:
    """Creates the first state, or loads the last one and the best evaluation so far."""
    if not resume:
        with goodput.spend("compiling"):
            return setup.initial_state(), None
    with goodput.spend("restoring"):
        state = checkpoints.load_state(run, setup.abstract_state)
    return state, _saved_best(run, state, save)


def _check_folder(run: Path, config: TrainConfig, resume: bool) -> None:
    """Raises DistaxError if the run cannot be started or resumed in a folder."""
    if not resume:
        if checkpoints.holds_run(run):
            raise DistaxError(f"{run}: already holds a run; resume it or choose another folder")
        return
    saved = replace(checkpoints.read_about(run, "last")[0], trackers=config.trackers)
    if saved != config:
        theirs, ours = saved.to_dict(), config.to_dict()
        differing = ", ".join(key for key in ours if ours[key] != theirs[key])
        raise DistaxError(
            f"{run}: the run to resume has another configuration (differs in {differing}); "
            "resume without changing it, or start another run"
        )


def _spans(steps: range, every: Sequence[int]) -> Iterator[range]:
    """Splits a range of steps into spans that are dispatched together.

    A span ends at every multiple of any number in `every`: the longest dispatch allowed, and the
    intervals of the log and of evaluations.
    """
    start = steps.start
    while start < steps.stop:
        stop = min(*(start - start % interval + interval for interval in every), steps.stop)
        yield range(start, stop)
        start = stop


def _evaluate(setup: Setup, state: TrainState) -> Evaluation:
    """Evaluates the model of a state on the held-out images."""
    arrays = gathered((evaluated_params(state), state.constants), setup.mesh)
    return evaluate(
        merge(setup.model, *arrays),
        *setup.held_out,
        setup.config.sensor,
        setup.config.threshold,
        devices=tuple(setup.mesh.devices.flat),
    )


def _saved_best(run: Path, state: TrainState, save: Save) -> Evaluation | None:
    """Reads the best evaluation of a run so far.

    An interruption may have come after the last checkpoint was saved and before the best one was.
    Then the last one is saved as the best now.
    """
    _, latest = checkpoints.read_about(run, "last")
    best = checkpoints.read_about(run, "best")[1] if checkpoints.holds(run, "best") else None
    return _keep_better(best, latest, state, save)


def _keep_better(
    best: Evaluation | None, latest: Evaluation | None, state: TrainState, save: Save
) -> Evaluation | None:
    """Returns the better of two evaluations; saves `state` as the best if that is the latest."""
    if latest is None or (best and latest.cso_map_by_score <= best.cso_map_by_score):
        return best
    save("best", state, latest)
    return latest
