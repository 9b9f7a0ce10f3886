"""Outputs that are written into: pipes, terminals, other devices, and files that are open."""

import os
import sys
from pathlib import Path
from typing import BinaryIO

from distax.runtime.errors import DistaxError

_MOST_LINKS = 40
"""Links that Linux follows in one path."""


def is_special(path: Path) -> bool:
    """Returns True for a pipe, a terminal or another device. Reading one may never end."""
    return path.exists() and not (path.is_file() or path.is_dir())


def check_regular(path: Path) -> None:
    """Raises DistaxError for what `is_special` is true for."""
    if is_special(path):
        raise DistaxError(f"{path}: is no regular file; write its content to one")


def is_device(path: Path) -> bool:
    """Returns True for what is written into, instead of being replaced by a whole file.

    That is a pipe, a terminal or another device, and a name such as /dev/stdout, which stands for
    an open file: to replace it would delete what was written there before.
    """
    return _open_file(path) is not None or (path.exists() and not path.is_file())


def open_device(path: Path) -> BinaryIO:
    """Opens what `is_device` is true for, for writing.

    An open file is continued where it is.

    Raises:
      OSError: it cannot be opened.
    """
    number = _open_file(path)
    if number is None:
        return path.open("wb")
    for stream in (sys.stdout, sys.stderr):
        if stream:
            stream.flush()
    return os.fdopen(os.dup(number), "wb")


def _open_file(path: Path) -> int | None:
    """Returns the number of the open file that a path such as /dev/stdout stands for."""
    # On Linux, this is a link to the process's folder in /proc.
    numbers = os.path.realpath("/dev/fd")
    for _ in range(_MOST_LINKS):
        if path.name.isdecimal() and os.path.realpath(path.parent) == numbers:
            return int(path.name)
        if not path.is_symlink():
            break
        path = path.parent / os.readlink(path)
    return None
