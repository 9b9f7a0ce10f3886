"""Signals that end a program, heard where it can be ended well."""

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


@contextmanager
def plain_sigint() -> Iterator[None]:
    """Within the block Ctrl-C ends the process at once, by what the system does without Python.

    Libraries that are only half imported swallow Python's exception, or end in recursion.
    """
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if usual:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        if usual:
            signal.signal(signal.SIGINT, signal.default_int_handler)
