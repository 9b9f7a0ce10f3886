"""A trace of some training steps, for XProf or TensorBoard's profile page."""

import re

import jax
from etils import epath

from distax.runtime.errors import DistaxError


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
      folder: folder of the trace.
      steps: the steps, counted from 0; empty for no trace.
    """

    def __init__(self, folder: epath.Path, steps: range):
        self._folder, self._steps, self._traces = folder, steps, False

    def before(self, span: range) -> None:
        """Starts the trace if the steps of a dispatch are to be traced."""
        wanted = span.start < self._steps.stop and span.stop > self._steps.start
        if wanted and not self._traces:
            jax.profiler.start_trace(str(self._folder))
            self._traces = True

    def is_over_after(self, span: range) -> bool:
        """Returns True if the trace ends with this dispatch."""
        return self._traces and span.stop >= self._steps.stop

    def close(self) -> None:
        """Ends the trace, if there is one; the caller has waited for its steps."""
        if self._traces:
            jax.profiler.stop_trace()
            self._traces, self._steps = False, range(0)
