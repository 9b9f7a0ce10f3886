"""Reporting of a run's losses and speed: to a progress bar or in plain lines, and to trackers."""

import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType

import jax
import numpy as np
from jaxtyping import Array, Bool, Float
from rich.console import Console

from distax.runtime.errors import DistaxError
from distax.runtime.progress import progress_bar
from distax.training.trackers import Tracker

_SECONDS_UNTIL_FLUSH = 60
"""Time after which figures are stored. In a bucket, storing them writes whole files again."""


class Reporter:
    """Writes a run's figures to the screen and to its trackers.

    Args:
      trackers: trackers of the run; they are closed at the end. With several processes only the
        first one has any.
      steps: steps in all.
      start: steps already done.
    """

    def __init__(self, trackers: Sequence[Tracker], steps: int, start: int):
        self._is_first = jax.process_index() == 0
        self._trackers = trackers
        self._flushed = time.monotonic()
        self._steps = steps
        self.start_clock(start)
        self._bar = progress_bar("step", Console(), shown=self._is_first and sys.stdout.isatty())
        self._task = self._bar.add_task("", total=steps, completed=start)

    def __enter__(self) -> "Reporter":
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()
        with ExitStack() as stack:
            for tracker in self._trackers:
                stack.callback(tracker.close)

    def start_clock(self, step: int) -> None:
        """Restarts the measurement of speed, so that time not spent on steps is left out."""
        self._clock = (step, time.perf_counter())

    def images_per_second(self, step: int, batch_size: int) -> float:
        """Computes the training speed since the clock was started, and restarts the clock."""
        last_step, last_time = self._clock
        self.start_clock(step)
        return (step - last_step) * batch_size / (self._clock[1] - last_time)

    def log(self, step: int, **figures: float) -> None:
        """Writes figures under their names at a step."""
        for tracker in self._trackers:
            tracker.log(step, figures)
        if time.monotonic() - self._flushed > _SECONDS_UNTIL_FLUSH:
            self.flush()
        text = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        if not self._bar.disable:
            self._bar.update(self._task, completed=step, description=text)
        elif self._is_first:
            print(f"step {step}/{self._steps}  {text}", flush=True)

    def flush(self) -> None:
        """Makes the trackers store what was logged; call it before each checkpoint."""
        for tracker in self._trackers:
            tracker.flush()
        self._flushed = time.monotonic()


class LossLog:
    """Reads the losses of dispatched steps while the devices compute newer steps.

    Reading a loss waits for the devices. So losses are queued, and read one dispatch later.

    Args:
      report: where mean losses and speeds are written.
      where: the run, for error messages.
      batch_size: images a step.
      devices: number of devices.
      logs_at: returns True for the steps after which a line is logged.
      utilisation: returns the share of the device's peak that steps of a duration reach, or None.
    """

    def __init__(
        self,
        report: Reporter,
        where: str,
        batch_size: int,
        devices: int,
        logs_at: Callable[[int], bool],
        utilisation: Callable[[float], float | None],
    ):
        self._report, self._where = report, where
        self._batch_size, self._devices, self._logs_at = batch_size, devices, logs_at
        self._utilisation = utilisation
        self._step_seconds: list[float] = []
        self.start_clock()
        self._waiting: deque[tuple[range, Array, Array | np.ndarray, bool]] = deque()
        self._read: list[float] = []

    def add(
        self,
        span: range,
        losses: Float[Array, " steps"],
        stop: Bool[Array | np.ndarray, ""],
        timed: bool = True,
    ) -> None:
        """Queues the losses of steps just dispatched.

        Args:
          span: the steps.
          losses: their losses.
          stop: True if any process was asked to stop before these steps.
          timed: False to leave out the time of these steps, because they are compiled first.
        """
        self._waiting.append((span, losses, stop, timed))

    def start_clock(self) -> None:
        """Restarts the measurement of the next step, so that time not spent on it is left out."""
        self._last_read = time.perf_counter()

    def read(self, keep: int) -> bool:
        """Waits for all but the newest `keep` dispatches and logs the lines that are due.

        Returns:
          True if the run is to stop. It is the same on every process after the same steps.

        Raises:
          DistaxError: a loss is not finite.
        """
        stopping = False
        while len(self._waiting) > keep:
            span, losses, stop, timed = self._waiting.popleft()
            self._check(span, values := np.asarray(jax.device_get(losses)))
            now = time.perf_counter()
            if timed:
                self._step_seconds.append((now - self._last_read) / len(span))
            else:
                self._report.start_clock(span.stop)
            self._last_read = now
            self._read.extend(values.tolist())
            if self._logs_at(span.stop):
                self.flush(span.stop)
            stopping |= bool(stop)
        return stopping

    def flush(self, done: int) -> None:
        """Logs the mean over the steps read since the last line, if there are any."""
        if self._read:
            figures = {"loss": float(np.mean(self._read))}
            if self._step_seconds:
                speed = self._report.images_per_second(done, self._batch_size)
                figures["images_per_second"] = speed
                figures["images_per_second_per_device"] = speed / self._devices
                figures["step_seconds"] = float(np.mean(self._step_seconds))
                utilisation = self._utilisation(figures["step_seconds"])
                if utilisation is not None:
                    figures["model_flop_utilisation"] = utilisation
                figures["step_seconds_spread"] = float(np.std(self._step_seconds))
            self._report.log(done, **figures)
            self._read.clear()
            self._step_seconds.clear()

    def _check(self, span: range, values: np.ndarray) -> None:
        finite = np.isfinite(values)
        if not finite.all():
            first = int(np.argmin(finite))
            raise DistaxError(
                f"{self._where}: the loss is {values[first]} at step {span[first] + 1}; the last "
                "good checkpoint is kept: lower the learning rate or look at the data"
            )
