"""Handling of SIGTERM and SIGINT, the signals that end a program."""

import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
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
def stop_requests(
    last_words: Callable[[], None], seconds: float = _GRACE
) -> Iterator[Callable[[], int | None]]:
    """Makes SIGTERM and the first SIGINT requests to stop, instead of ending the process.

    The yielded function returns the number of the signal that came, or None. A second SIGINT raises
    KeyboardInterrupt at once, and ends the process if the block goes on nevertheless.

    Args:
      last_words, seconds: as of `ending_soon`, for the second SIGINT.
    """
    interrupted = False

    def handler(signum: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        if interrupted:
            raise KeyboardInterrupt
        interrupted = True

    # A shell makes its background jobs ignore SIGINT. They go on ignoring it.
    default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with sigterm() as terminated, _ending({signal.SIGINT: 2}, last_words, seconds):
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

    Args:
      last_words: called in another thread before the process ends with status 128 + signal.
      seconds: time that the block has to end by itself after the signal.
    """
    with _ending({signal.SIGTERM: 1, signal.SIGINT: 1}, last_words, seconds):
        yield


@contextmanager
def _ending(
    counts: Mapping[int, int], last_words: Callable[[], None], seconds: float
) -> Iterator[None]:
    """Ends the process soon after a signal has come often enough, if the block has not ended.

    `counts` gives, by the number of the signal, how often it must come.

    Python handles a signal only between its own instructions. A compilation or a large program of
    JAX is one instruction, and may take a minute. Also, an exception that a handler raises is lost
    if Python runs the handler in a callback of its garbage collector. So a thread waits for the
    signals.
    """
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    ended = threading.Event()

    def watch() -> None:
        came = Counter[int]()
        while number := ours.recv(1):
            came[number[0]] += 1
            if came[number[0]] == counts.get(number[0]) and not ended.wait(seconds):
                try:
                    last_words()
                finally:
                    os._exit(128 + number[0])

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
