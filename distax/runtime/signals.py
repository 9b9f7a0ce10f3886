"""Handling of SIGTERM and SIGINT, the signals that end a program."""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_GRACE = 4.0
"""Seconds that a program has to end by itself. Schedulers kill it after ten seconds or more."""


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
def stop_requests() -> Iterator[Callable[[], int | None]]:
    """Makes SIGTERM and the first SIGINT requests to stop, instead of ending the process.

    The yielded function returns the number of the signal that came, or None. A second SIGINT raises
    KeyboardInterrupt at once.
    """
    interrupted = False

    def handler(signum: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        if interrupted:
            raise KeyboardInterrupt
        interrupted = True

    # Elsewhere than in a terminal SIGINT may be ignored, and stays so.
    default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with sigterm() as terminated:
        if default:
            signal.signal(signal.SIGINT, handler)
        try:
            yield lambda: signal.SIGTERM if terminated() else signal.SIGINT if interrupted else None
        finally:
            if default:
                signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def ending_soon(last_words: Callable[[], None], seconds: float = _GRACE) -> Iterator[None]:
    """Ends the process soon after SIGTERM or SIGINT, if the block has not ended by then.

    Python handles a signal only between its own instructions. A compilation or a large program of
    JAX is one instruction, and may take a minute. So a thread waits for the signal.

    Args:
      last_words: called in that thread before the process ends with status 128 + signal.
      seconds: time that the block has to end by itself after the signal.
    """
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    ended = threading.Event()

    def watch() -> None:
        while number := ours.recv(1):
            if number[0] in (signal.SIGTERM, signal.SIGINT):
                if not ended.wait(seconds):
                    try:
                        last_words()
                    finally:
                        os._exit(128 + number[0])
                return

    previous = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        signal.set_wakeup_fd(previous)
        theirs.close()
        thread.join()
        ours.close()


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
