"""Saving of the answers so far during a run."""

import time
from collections.abc import Callable

from distax.runtime.errors import DistaxError
from distax.runtime.terminal import tell

_EVERY = 5.0
"""Seconds between two saves. A killed run loses at most the answers of that time."""
_SHARE = 20.0
"""Least ratio of the time between two saves to the time of a save. A long record is saved less
often, so that saving takes at most a twentieth of the run."""


class Autosave:
    """Saves at intervals.

    Args:
      save: saves everything, in place of what was saved before.
    """

    def __init__(self, save: Callable[[], None]):
        self._save, self._told = save, ""
        self._next = time.monotonic() + _EVERY

    def __call__(self) -> None:
        """Saves if it is time to. Call it often.

        An error of saving is printed, but the same error only once, and the run goes on.
        """
        start = time.monotonic()
        if start < self._next:
            return
        try:
            self._save()
        except DistaxError as error:
            # A disk may be full for a while. The last save, at the end, counts.
            if str(error) != self._told:
                self._told = str(error)
                tell(f"{error}; the run goes on and tries again")
        end = time.monotonic()
        self._next = end + max(_EVERY, _SHARE * (end - start))
