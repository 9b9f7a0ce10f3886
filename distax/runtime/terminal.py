"""Lines on the terminal, which names of files and headers cannot control."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_STREAMS = {"stdin": 0, "stdout": 1, "stderr": 2}
"""Standard streams, in the order of their numbers."""
_TOO_LONG = re.compile(r"[^\s/\\]{256,}")
"""A word without spaces and slashes that is longer than any name of a file."""
_FIRST_BYTE = 0xDC80
"""Letter that stands for the byte 0x80 in a name that is not UTF-8 (PEP 383)."""
_KEPT = 40
"""Letters of it that are printed."""


def printable(text: object) -> str:
    """Returns text with control characters as the escapes of Python's strings.

    Names of files and headers may hold line breaks, and sequences that move a terminal's cursor.
    """
    return "".join(letter if letter.isprintable() else _escaped(letter) for letter in str(text))


def line_of(message: object) -> str:
    """Returns a message as one printable line, in which what is too long for a name is shortened.

    No system has names of more than 255 letters. So only numbers, names that were never those of a
    file, and damaged content are that long.
    """
    return printable(_TOO_LONG.sub(lambda found: _shortened(found[0]), str(message)))


def _shortened(word: str) -> str:
    return f"{word[:_KEPT]}… ({len(word):,} characters)"


def _escaped(letter: str) -> str:
    # Python stands for a byte that is not UTF-8 by such a letter.
    if _FIRST_BYTE <= ord(letter) <= _FIRST_BYTE + 0x7F:
        return f"\\x{ord(letter) - _FIRST_BYTE + 0x80:02x}"
    return letter.encode("unicode_escape").decode("ascii")


def say(message: object) -> None:
    """Prints a line for the user on standard output."""
    print(printable(message), flush=True)


def tell(message: object) -> None:
    """Prints a line for the user on standard error."""
    print(f"distax: {line_of(message)}", file=sys.stderr, flush=True)


@contextmanager
def patient_streams() -> Iterator[None]:
    """Lets printing go on where a stream is closed or its encoding lacks a letter.

    The letter becomes `?`. What is printed to a stream that the caller has closed is lost.

    Raises:
      OSError: what was printed within the block cannot be written: the disk is full, or the program
        that reads it has ended (BrokenPipeError).
    """
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        yield
        sys.stdout.flush()
    except OSError:
        _discard_output()
        raise


def _open_closed_streams() -> None:
    """Opens the null device in place of the standard streams that are closed.

    Otherwise the next file that is opened would take such a stream's number, and get what
    libraries in C++ print.
    """
    for name, number in _STREAMS.items():
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is taken.
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


def _discard_output() -> None:
    """Keeps Python from writing the rest of the output at its end, which would fail again."""
    try:
        output = sys.stdout.fileno()
    except (AttributeError, OSError, ValueError):  # no standard output, or one in memory
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, output)
    os.close(nowhere)
