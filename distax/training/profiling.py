"""A trace of some training steps, for XProf or TensorBoard's profile page."""

import re
from pathlib import Path

import jax

from distax.runtime.errors import DistaxError
from distax.runtime.files import GrowingFiles


def parse_steps(text: str) -> range:
    """Reads a range of steps such as "10:20": the eleventh step to the twentieth.

    Raises:
      DistaxError: the text is no range of steps.
    """
    found = re.fullmatch(r"(\d+):(\d+)", text)
    steps = range(int(found[1]), int(found[2])) if found else range(0)
    if not steps:
        raise DistaxError(f"--profile takes two steps such as 10:20, got {text}")
    return steps


class Profile:
    """Traces the dispatches that contain the given steps, and those between them.

    Args:
      folder: folder of the trace, on disk or in a bucket.
      steps: the steps, counted from 0; empty for no trace.
    """

    def __init__(self, folder: Path, steps: range):
        self._folder, self._steps = folder, steps
        self._files: GrowingFiles | None = None

    def before(self, span: range) -> None:
        """Starts the trace if the steps of a dispatch are to be traced."""
        wanted = span.start < self._steps.stop and span.stop > self._steps.start
        if wanted and self._files is None:
            self._files = GrowingFiles(self._folder)
            jax.profiler.start_trace(str(self._files.local))

    def is_over_after(self, span: range) -> bool:
        """Returns True if the trace ends with this dispatch."""
        return self._files is not None and span.stop >= self._steps.stop

    def close(self) -> None:
        """Ends the trace, if there is one; the caller has waited for its steps."""
        if (files := self._files) is not None:
            self._files, self._steps = None, range(0)
            jax.profiler.stop_trace()
            files.close()
