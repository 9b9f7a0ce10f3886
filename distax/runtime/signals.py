"""Handling of SIGTERM and SIGINT, the signals that end a program."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def sigterm() -> Iterator[Callable[[], bool]]:
    """Makes SIGTERM set a flag within the block, instead of ending the process.

    The yielded function returns the flag.
    """
    asked = False

    def handler(signum: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True

    previous = signal.signal(signal.SIGTERM, handler)
    try:
        yield lambda: asked
    finally:
        # None means a handler that was not set from Python, such as JAX's own for clusters. Python
        # cannot restore such a handler, so the system's default is set.
        signal.signal(signal.SIGTERM, signal.SIG_DFL if previous is None else previous)


@contextmanager
def plain_sigint() -> Iterator[None]:
    """Makes Ctrl-C end the process at once within the block, by the system's default action.

    It is for imports: libraries that are only half imported swallow Python's KeyboardInterrupt, or
    fail with endless recursion.
    """
    default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if default:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        if default:
            signal.signal(signal.SIGINT, signal.default_int_handler)
