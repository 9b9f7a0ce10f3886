"""The training loop: steps, evaluations and checkpoints, also when the run is stopped."""

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

import jax
from etils import epath
from jax.sharding import Mesh
from jaxtyping import Array

from distax.evaluation import Evaluation
from distax.runtime.buckets import BucketPath, as_path
from distax.runtime.errors import DistaxError, Terminated
from distax.runtime.locks import alone_in
from distax.runtime.sharding import data_mesh, gathered, on_any_process, platform
from distax.runtime.signals import stop_requests
from distax.runtime.terminal import tell
from distax.training import checkpoints
from distax.training.config import TrainConfig
from distax.training.goodput import Goodput
from distax.training.profiling import Profile
from distax.training.reporting import LossLog, Reporter
from distax.training.saving import Saver
from distax.training.setup import Setup, build, evaluate_held_out
from distax.training.state import TrainState, evaluated_params, merge
from distax.training.steps import CompiledSteps, StepPrograms, steps_a_dispatch
from distax.training.trackers import Tracker, open_trackers


def train(
    config: TrainConfig,
    run: epath.PathLike,
    resume: bool = False,
    mesh: Mesh | None = None,
    profile: range = range(0),
    compiled: Mapping[int, CompiledSteps] | None = None,
    trackers: Sequence[Tracker] = (),
    start: Mapping[str, Array] = MappingProxyType({}),
) -> Evaluation:
    """Trains a model and writes its last and best checkpoints and its log to a folder.

    The parameters are a function of the configuration and of the arrays that the run starts from: a
    resumed run ends with those that it would have had without the interruption. On other devices
    they differ by rounding. With several processes (see `distax.runtime.processes`), all must call
    this with the same arguments.

    Args:
      config: the run's configuration.
      run: the run's folder, or a place in a bucket such as gs://bucket/run.
      resume: True to continue from the last checkpoint in the folder. `config` must be the run's.
      mesh: the devices. Default: all devices of all processes.
      profile: steps to trace, counted from 0; the trace is in the run's folder `profile`.
      compiled: programs of the steps by the number of steps in a call, such as
        `compilation.saved_steps` loads. Default: compile them.
      trackers: further trackers, besides those that the configuration names. They are closed at the
        end.
      start: arrays of the model by name to start from, such as `weights.matching_parameters`
        collects. Default: the initial ones. A resumed run does not use them.

    Returns:
      The best evaluation.

    Raises:
      DistaxError: model and configuration do not suit one another (see
        `distax.training.setup.build`); another process trains in the folder; the folder already
        holds a run, or holds no run of this configuration to resume; the devices cannot share a
        batch equally; the loss is not finite; a checkpoint cannot be saved; a dataset cannot be
        read.
      Terminated: this or another process received SIGTERM; the state is saved.
      KeyboardInterrupt: this process received SIGINT; the state is saved, unless SIGINT came again
        meanwhile.
    """
    run = as_path(run)
    with _alone_in(run):
        _check_folder(run, config, resume)
        return _train(config, run, resume, mesh or data_mesh(), profile, compiled, trackers, start)


def _train(
    config: TrainConfig,
    run: Path,
    resume: bool,
    mesh: Mesh,
    profile: range,
    compiled: Mapping[int, CompiledSteps] | None,
    trackers: Sequence[Tracker],
    start: Mapping[str, Array],
) -> Evaluation:
    """Trains in a folder that no other process uses; see `train`."""
    goodput = Goodput()
    with goodput.spend("compiling"):
        setup = build(config, mesh)

    with goodput.reported(run / "goodput.json"), Saver(run, config) as saver:
        keeper = _Keeper(setup, run, saver, goodput)
        begun = keeper.begin(resume, start)
        first = int(begun.step)
        with (
            Reporter(_open_trackers(config, run, first, trackers), config.steps, first) as report,
            stop_requests(partial(tell, "interrupted")) as asked_to_stop,
            closing(Profile(run / "profile", profile)) as trace,
        ):
            steps = StepPrograms(setup.train_steps, mesh, compiled)
            log = LossLog(
                report, str(run), config.batch_size, mesh.size, config.logs_at, steps.utilisation
            )
            dispatches = _Dispatches(setup, steps, log, trace, goodput, asked_to_stop)
            for done, state, stopping in dispatches.run(begun, range(first, config.steps)):
                due = config.evaluates_at(done)
                if due:
                    report.log(done, **keeper.evaluate(state).headline)
                    report.flush()
                    report.start_clock(done)
                    log.start_clock()
                if stopping and done < config.steps:
                    if not due:
                        report.flush()
                        keeper.save("last", state, None)
                    keeper.wait()
                    stop = KeyboardInterrupt if asked_to_stop() == signal.SIGINT else Terminated
                    raise stop(f"stopped at step {done} of {config.steps}; saved in {run}")
        keeper.wait()
    if keeper.best is None:
        raise DistaxError(f"{run}: nothing left to do, the run has ended without an evaluation")
    return keeper.best


def _alone_in(run: Path) -> AbstractContextManager[None]:
    """Keeps other runs out of a folder on disk; the first process does it for all of a run."""
    if isinstance(run, BucketPath) or jax.process_index():
        return nullcontext()
    return alone_in(run, "trains")


@dataclass
class _Dispatches:
    """Dispatches the steps of a run, several at a time, and reads their losses."""

    setup: Setup
    steps: StepPrograms
    log: LossLog
    trace: Profile
    goodput: Goodput
    asked_to_stop: Callable[[], int | None]

    def run(self, state: TrainState, numbers: range) -> Iterator[tuple[int, TrainState, bool]]:
        """Yields after each dispatch: the steps done, the state, and True to stop the run."""
        config, mesh = self.setup.config, self.setup.mesh
        at_once = steps_a_dispatch(config, platform(mesh))
        # Dispatches that the devices compute while the host reads the losses of earlier ones. On a
        # CPU executions that overlap compete for its cores, and can wait for one another for ever.
        in_flight = 0 if platform(mesh) == "cpu" else 1
        spans = list(_spans(numbers, (at_once, config.log_every, config.eval_every)))
        feed, lengths = self.setup.feed.batches(spans), set[int]()
        for span in spans:
            # The first dispatch of a length is compiled, and so is its feed.
            first = len(span) not in lengths
            lengths.add(len(span))
            with self.goodput.spend("compiling" if first else "waiting_for_input"):
                batches = next(feed)
            self.trace.before(span)
            # All processes must stop after the same step. So they exchange the flag with the step
            # and all act on it when they read that step's losses.
            stop = on_any_process(self.asked_to_stop() is not None, mesh)
            with self.goodput.spend("compiling" if first else "steps"):
                state, losses = self.steps(state, batches)
                self.log.add(span, losses, stop, timed=not first)
                traced = self.trace.is_over_after(span)
                waits = first or traced or config.evaluates_at(span.stop)
                stopping = self.log.read(keep=0 if waits else in_flight)
                if stopping:
                    self.log.read(keep=0)
                    self.log.flush(span.stop)
            if traced:
                self.trace.close()
            yield span.stop, state, stopping


@dataclass
class _Keeper:
    """Begins a run, evaluates and saves its states, and remembers the best evaluation."""

    setup: Setup
    folder: Path
    saver: Saver
    goodput: Goodput
    best: Evaluation | None = None

    def begin(self, resume: bool, start: Mapping[str, Array]) -> TrainState:
        """Creates the first state, or loads the last one and the best evaluation so far."""
        if not resume:
            with self.goodput.spend("compiling"):
                return self.setup.initial_state(start)
        with self.goodput.spend("restoring"):
            state = checkpoints.load_state(self.folder, self.setup.abstract_state)
        # An interruption may have come after the last checkpoint was saved and before the best one
        # was. Then the last one is saved as the best now.
        _, latest = checkpoints.read_about(self.folder, "last")
        if checkpoints.holds(self.folder, "best"):
            self.best = checkpoints.read_about(self.folder, "best")[1]
        self._keep_better(latest, state)
        return state

    def evaluate(self, state: TrainState) -> Evaluation:
        """Evaluates a state on the held-out images, and saves it as the last and maybe the best."""
        with self.goodput.spend("evaluating"):
            setup = self.setup
            arrays = gathered((evaluated_params(state), state.constants), setup.mesh)
            result = evaluate_held_out(setup, merge(setup.model, *arrays))
        self.save("last", state, result)
        self._keep_better(result, state)
        return result

    def save(self, which: checkpoints.Which, state: TrainState, result: Evaluation | None) -> None:
        """Saves a state as one kind of checkpoint, with its evaluation or None."""
        with self.goodput.spend("saving"):
            self.saver.save(which, state, result)

    def wait(self) -> None:
        """Waits until everything is saved."""
        with self.goodput.spend("saving"):
            self.saver.wait()

    def _keep_better(self, latest: Evaluation | None, state: TrainState) -> None:
        """Saves a state as the best if its evaluation is better than the best so far."""
        if latest is None:
            return
        if self.best is None or latest.cso_map_by_score > self.best.cso_map_by_score:
            self.save("best", state, latest)
            self.best = latest


def _open_trackers(
    config: TrainConfig, run: Path, start: int, others: Sequence[Tracker]
) -> list[Tracker]:
    """Opens the configured trackers, and gives the configuration to all. Only process 0 has any."""
    if jax.process_index():
        return []
    trackers = [*open_trackers(config.trackers, run, start), *others]
    for tracker in trackers:
        tracker.describe(config.to_dict())
    return trackers


def _check_folder(run: Path, config: TrainConfig, resume: bool) -> None:
    """Raises DistaxError if the run cannot be started or resumed in a folder."""
    if not resume:
        if checkpoints.holds_run(run):
            raise DistaxError(f"{run}: already holds a run; resume it or choose another folder")
        return
    saved = checkpoints.read_about(run, "last")[0]
    # Trackers may change, and so may the place of the file that registers the model.
    model = replace(saved.model, module=config.model.module)
    saved = replace(saved, trackers=config.trackers, model=model)
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
