"""Locks of files on disk, which end with the process that holds them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from distax.runtime.errors import DistaxError, naming_what_fails

if os.name == "posix":
    import fcntl


def try_lock(descriptor: int) -> bool:
    """Locks an open file. Returns False if another process has locked it.

    Returns True where files cannot be locked, as on Windows and on some network file systems.
    """
    if os.name != "posix":
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


@contextmanager
def alone_in(folder: Path, what: str) -> Iterator[None]:
    """Reserves a folder for one process at a time, by a lock on the file `.lock` in it.

    Args:
      folder: the folder. It is made if it does not exist, and then deleted again if it stays empty.
      what: the work of the process, for the error line in other processes, such as "trains".

    Raises:
      DistaxError: another process works in the folder, or it cannot be written.
    """
    file, is_new = folder / ".lock", not folder.exists()
    with naming_what_fails(folder):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if not (try_lock(descriptor) and _is_open(file, descriptor)):
            raise DistaxError(
                f"{folder}: another process {what} in this folder; wait for it, or choose another "
                "folder"
            )
        try:
            yield
        finally:
            file.unlink(missing_ok=True)
            if is_new:
                with suppress(OSError):
                    folder.rmdir()
    finally:
        os.close(descriptor)


def _is_open(file: Path, descriptor: int) -> bool:
    """Returns False if the process that had locked an open file has deleted it."""
    try:
        return os.path.samestat(os.stat(file), os.fstat(descriptor))
    except FileNotFoundError:
        return False
