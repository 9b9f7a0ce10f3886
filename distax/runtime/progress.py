"""How far a long command is, on a terminal."""

import sys
import time
from contextlib import ExitStack

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_PATIENCE = 2.0
"""Seconds that a command takes before it shows how far it is."""
_SLOW = 100.0
"""Rate a second from which on tenths are not shown."""
_REMEMBERED = 300.0
"""Seconds over which speed is averaged for the time left."""


def progress_bar(what: str, console: Console, shown: bool, transient: bool = False) -> Progress:
    """A bar with what is counted, how much of it is done, a description and the time left.

    Args:
      what: is counted, such as "step".
      console: to show it on.
      shown: False for a bar that shows nothing.
      transient: whether it vanishes at the end.
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
        speed_estimate_period=_REMEMBERED,
    )


class PatientBar(ExitStack):
    """A bar on standard error with a rate, if that is a terminal and it takes long.

    Args:
      what: is counted, such as "image".
      total: how many there are.
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
        """Show how much is done, and how fast it has gone since the first time this was told.

        What comes before is mostly compiling.

        Args:
          done: of what is counted.
          images: done by now, if something else is counted.
        """
        now = time.perf_counter()
        amount, name = (done, self._what) if images is None else (images, "image")
        before, then = self._first = self._first or (amount, now)
        rate = (amount - before) / (now - then) if now > then else 0.0
        text = f"{rate:,.{1 if rate < _SLOW else 0}f} {name}s/s" if rate else ""
        self._bar.update(self._task, completed=done, description=text)
        if now - self._began > _PATIENCE:
            self._bar.start()
