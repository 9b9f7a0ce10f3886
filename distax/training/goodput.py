"""Seconds of a run by their use: training steps, and everything else that takes its time."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, get_args

import jax

from distax.runtime.errors import DistaxError
from distax.runtime.plain_json import write_json

Kind = Literal["compiling", "steps", "waiting_for_input", "evaluating", "saving", "restoring"]


class Goodput:
    """Sums the seconds of a run by their use.

    Time that is spent on no `Kind`, such as on writing logs, counts as "other".
    """

    def __init__(self) -> None:
        self._seconds: dict[str, float] = dict.fromkeys(get_args(Kind), 0.0)
        self._start = time.perf_counter()

    @contextmanager
    def spend(self, kind: Kind) -> Iterator[None]:
        """Adds the time of the `with` block to a kind."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[kind] += time.perf_counter() - start

    def seconds(self) -> dict[str, float]:
        """Returns the seconds of each kind, with "other" and "total"."""
        total = time.perf_counter() - self._start
        other = max(total - sum(self._seconds.values()), 0.0)
        return {**self._seconds, "other": other, "total": total}

    def summary(self) -> str:
        """Formats the shares of the time in one line, largest first; less than 0.5% is left out."""
        seconds = self.seconds()
        total = seconds.pop("total")
        shares = sorted(seconds.items(), key=lambda item: -item[1])
        parts = [
            f"{kind.replace('_', ' ')} {100 * spent / total:.0f}%"
            for kind, spent in shares
            if spent >= total / 200
        ]
        return f"time: {total:.0f} s, of which {', '.join(parts)}"

    @contextmanager
    def reported(self, path: Path) -> Iterator[None]:
        """Prints the shares and writes the seconds after the `with` block, also after an error.

        Of several processes only the first one prints and writes.
        """
        try:
            yield
        except BaseException:
            # An error of the run matters more than one of this file.
            with suppress(DistaxError):
                self._report(path)
            raise
        self._report(path)

    def _report(self, path: Path) -> None:
        if jax.process_index() == 0:
            print(self.summary(), flush=True)
            self.write(path)

    def write(self, path: Path) -> None:
        """Writes the seconds as JSON.

        Raises:
          DistaxError: the file cannot be written.
        """
        write_json(path, self.seconds())
