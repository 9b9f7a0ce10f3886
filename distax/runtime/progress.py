"""Progress bars on a terminal."""

import sys
import time
from contextlib import ExitStack

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_DELAY = 2.0
"""Seconds before a bar appears, so that short commands print none."""
_WHOLE_RATE = 100.0
"""If the rate per second is at least this, the bar shows no tenths."""
_SPEED_WINDOW = 300.0
"""Seconds over which the speed is averaged to estimate the time left. A longer window makes the
estimate steadier. A shorter one lets it follow a change of speed."""


def progress_bar(what: str, console: Console, shown: bool, transient: bool = False) -> Progress:
    """Makes a bar with a unit, the count done, a description and the time left.

    Args:
      what: the unit counted, such as "step".
      console: the console to draw on.
      shown: False for a bar that draws nothing.
      transient: True to remove the bar at the end.
    """
    return Progress(
        TextColumn(what),
        MofNCompleteColumn(),
        BarColumn(),
        TextColumn("{task.description}"),
        TimeRemainingColumn(),
        console=console,
        disable=not shown,
        transient=transient,
        redirect_stdout=not console.stderr,
        speed_estimate_period=_SPEED_WINDOW,
    )


class PatientBar(ExitStack):
    """A bar with a rate on standard error, shown on terminals for commands that take long.

    Args:
      what: the unit counted, such as "image".
      total: number of units in all.
    """

    def __init__(self, what: str, total: int):
        super().__init__()
        shown = sys.stderr.isatty()
        self._what = what
        self._bar = progress_bar(what, Console(stderr=True), shown, transient=True)
        self.callback(self._bar.stop)
        self._task = self._bar.add_task("", total=total)
        self._began = time.perf_counter()
        self._first: tuple[float, float] | None = None

    def update(self, done: float | int, images: int | None = None) -> None:
        """Updates the count, and the rate since the first call.

        The time before the first call is left out of the rate, because most of it is compilation.

        Args:
          done: units done.
          images: images done, for the rate, if the bar counts another unit.
        """
        now = time.perf_counter()
        amount, name = (done, self._what) if images is None else (images, "image")
        before, then = self._first = self._first or (amount, now)
        rate = (amount - before) / (now - then) if now > then else 0.0
        text = f"{rate:,.{1 if rate < _WHOLE_RATE else 0}f} {name}s/s" if rate else ""
        self._bar.update(self._task, completed=done, description=text)
        if now - self._began > _DELAY:
            self._bar.start()
