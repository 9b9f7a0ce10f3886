"""Figures of a run while it trains: a progress bar or plain lines, JSON lines and TensorBoard."""

import json
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING

import jax
import numpy as np
from etils import epath
from jaxtyping import Array, Bool, Float
from rich.console import Console

from distax.runtime.errors import DistaxError
from distax.runtime.files import write_text
from distax.runtime.optional import require
from distax.runtime.progress import progress_bar

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter


class Reporter:
    """Writes a run's figures to the screen, to `metrics.jsonl` and to TensorBoard event files.

    With several processes only the first one writes. For a run in a bucket, where files cannot be
    appended to, only the screen is written.

    Args:
      run: the run's folder. Existing files there are appended to; lines about steps after `start`
        are removed first.
      steps: steps in all.
      start: steps already done.

    Raises:
      DistaxError: the folder cannot be written.
    """

    def __init__(self, run: epath.Path, steps: int, start: int):
        self._is_first = jax.process_index() == 0
        self._files = ExitStack()
        self._lines: IO[str] | None = None
        self._events: SummaryWriter | None = None
        if self._is_first and "://" not in str(run):
            self._open(Path(run), start)
        self._steps = steps
        self.start_clock(start)
        self._bar = progress_bar("step", Console(), shown=self._is_first and sys.stdout.isatty())
        self._task = self._bar.add_task("", total=steps, completed=start)

    def _open(self, run: Path, start: int) -> None:
        require("tensorboardX", "TensorBoard event files")
        from tensorboardX import SummaryWriter

        try:
            run.mkdir(parents=True, exist_ok=True)
            _drop_lines_after(start, run / "metrics.jsonl")
            self._lines = (run / "metrics.jsonl").open("a", encoding="utf-8")
            self._events = SummaryWriter(str(run / "tensorboard"), purge_step=start + 1)
        except OSError as error:
            raise DistaxError(f"{run}: cannot be written ({error.strerror})") from error
        self._files.callback(self._lines.close)
        self._files.callback(self._events.close)

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
        self._files.close()

    def start_clock(self, step: int) -> None:
        """Starts to measure the training speed anew, so that time spent otherwise is left out."""
        self._clock = (step, time.perf_counter())

    def images_per_second(self, step: int, batch_size: int) -> float:
        """Computes the training speed since the clock was started, and starts it anew."""
        last_step, last_time = self._clock
        self.start_clock(step)
        return (step - last_step) * batch_size / (self._clock[1] - last_time)

    def log(self, step: int, **figures: float) -> None:
        """Writes figures under their names at a step."""
        if self._lines:
            self._lines.write(json.dumps({"step": step, **figures}) + "\n")
            self._lines.flush()
        if self._events:
            for name, value in figures.items():
                self._events.add_scalar(name, value, step)
        text = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        if not self._bar.disable:
            self._bar.update(self._task, completed=step, description=text)
        elif self._is_first:
            print(f"step {step}/{self._steps}  {text}", flush=True)


def _drop_lines_after(step: int, log: Path) -> None:
    """Removes lines about later steps: a run that crashed after its checkpoint repeats them."""
    if log.exists():
        lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
        write_text(log, "".join(line for line in lines if _is_up_to(step, line)))


def _is_up_to(step: int, line: str) -> bool:
    """Returns True if a line is complete and not about a later step; a crash may cut a line."""
    try:
        return bool(json.loads(line)["step"] <= step)
    except (ValueError, KeyError, TypeError):
        return False


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
        """Starts to measure the next step anew, so that time spent otherwise is left out."""
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
            self._last_read = now
            self._read.extend(values.tolist())
            if self._logs_at(span.stop):
                self.flush(span.stop)
            stopping |= bool(stop)
        return stopping

    def flush(self, done: int) -> None:
        """Logs the mean over the steps read since the last line, if there are any."""
        if self._read:
            speed = self._report.images_per_second(done, self._batch_size)
            figures = {
                "loss": float(np.mean(self._read)),
                "images_per_second": speed,
                "images_per_second_per_device": speed / self._devices,
            }
            if self._step_seconds:
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
