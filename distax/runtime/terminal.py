"""Lines on the terminal, which names of files and headers cannot control."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def printable(text: object) -> str:
    """Returns text with control characters as the escapes of Python's strings.

    Names of files and headers may hold line breaks, and sequences that move a terminal's cursor.
    """
    return "".join(letter if letter.isprintable() else _escaped(letter) for letter in str(text))


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


def tell(message: object) -> None:
    """Prints a line for the user on standard error."""
    print(f"distax: {printable(message)}", file=sys.stderr, flush=True)


@contextmanager
def patient_streams() -> Iterator[None]:
    """Lets printing go on where the terminal's encoding lacks a letter, which becomes `?`.

    Raises:
      OSError: what was printed within the block cannot be written: the disk is full, or the program
        that reads it has ended (BrokenPipeError).
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        yield
        if sys.stdout:
            sys.stdout.flush()
    except OSError:
        _discard_output()
        raise


def _discard_output() -> None:
    """Keeps Python from writing the rest of the output at its end, which would fail again."""
    try:
        output = sys.stdout.fileno()
    except (AttributeError, OSError, ValueError):  # no standard output, or one in memory
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, output)
    os.close(nowhere)
