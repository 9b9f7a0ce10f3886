"""SIGTERM, heard without breaking off what is running."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def sigterm() -> Iterator[Callable[[], bool]]:
    """Within the block SIGTERM only sets a flag, which the yielded function reads."""
    asked = False

    def handler(signum: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True

    previous = signal.signal(signal.SIGTERM, handler)
    try:
        yield lambda: asked
    finally:
        # None stands for a handler that was not set from Python, such as JAX's own for clusters.
        signal.signal(signal.SIGTERM, signal.SIG_DFL if previous is None else previous)
