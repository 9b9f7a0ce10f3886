"""What a run tells while it goes: a progress bar or plain lines, JSON lines and TensorBoard."""

import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING

import jax
from etils import epath
from rich.console import Console

from distax.runtime.errors import DistaxError
from distax.runtime.files import write_text
from distax.runtime.optional import require
from distax.runtime.progress import progress_bar

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter


class Reporter:
    """Writes a run's figures to the screen, to `metrics.jsonl` and to TensorBoard event files.

    Of several processes only the first does. In a bucket, where files cannot be added to, there is
    only the screen.

    Args:
      run: the run's folder; the files there are added to, and lose what they say of later steps.
      steps: steps in all.
      start: steps already done.

    Raises:
      DistaxError: the folder cannot be written.
    """

    def __init__(self, run: epath.Path, steps: int, start: int):
        self._speaks = jax.process_index() == 0
        self._files = ExitStack()
        self._lines: IO[str] | None = None
        self._events: SummaryWriter | None = None
        if self._speaks and "://" not in str(run):
            self._open(Path(run), start)
        self._steps = steps
        self.start_clock(start)
        self._bar = progress_bar("step", Console(), shown=self._speaks and sys.stdout.isatty())
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
        """Measure speed from here, leaving out what was done since the last figure."""
        self._clock = (step, time.perf_counter())

    def images_per_second(self, step: int, batch_size: int) -> float:
        """Training speed since the last figure."""
        last_step, last_time = self._clock
        self.start_clock(step)
        return (step - last_step) * batch_size / (self._clock[1] - last_time)

    def log(self, step: int, **figures: float) -> None:
        """Record figures under their names at a step."""
        if self._lines:
            self._lines.write(json.dumps({"step": step, **figures}) + "\n")
            self._lines.flush()
        if self._events:
            for name, value in figures.items():
                self._events.add_scalar(name, value, step)
        text = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        if not self._bar.disable:
            self._bar.update(self._task, completed=step, description=text)
        elif self._speaks:
            print(f"step {step}/{self._steps}  {text}", flush=True)


def _drop_lines_after(step: int, log: Path) -> None:
    """Leave only the lines up to a step: a run that crashed later does the later steps again."""
    if log.exists():
        lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
        write_text(log, "".join(line for line in lines if _is_up_to(step, line)))


def _is_up_to(step: int, line: str) -> bool:
    """Whether a line tells of no later step, and is whole: a crash may have left a part of it."""
    try:
        return bool(json.loads(line)["step"] <= step)
    except (ValueError, KeyError, TypeError):
        return False
