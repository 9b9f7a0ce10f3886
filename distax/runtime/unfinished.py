"""Files that are being written, under a temporary name beside their final place."""

import os
import secrets
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from distax.runtime.locks import try_lock

_START = ".distax-"
_LONGEST_SUFFIX = 32
"""Letters of the longest suffix in a temporary name, which may have at most 255 bytes."""


def is_unfinished(path: Path) -> bool:
    """Returns True for the temporary name of a file that is being written, or was left so."""
    return path.name.startswith(_START)


@contextmanager
def unfinished(path: Path) -> Iterator[Path]:
    """Yields a temporary path, which replaces `path` if the block succeeds, by one atomic rename.

    The file has the permissions of the one that it replaces, or those that the umask leaves. It is
    on the disk before it replaces another, so that a crash of the machine leaves one of the two.
    Temporary files for the same path whose processes have died are deleted first.

    Raises:
      OSError: it cannot be written; `path` is unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    start = f"{_START}{zlib.crc32(path.name.encode(errors='surrogateescape')):08x}-"
    _delete_abandoned(path.parent, start)
    # Some writers choose the format by the suffix. No format has a very long one.
    suffix = path.suffix if len(path.suffix) <= _LONGEST_SUFFIX else ""
    temporary = path.parent / f"{start}{secrets.token_hex(4)}{suffix}"
    # Locked as long as it is written; so other processes know that this one is alive.
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        try_lock(descriptor)
        yield temporary
        with suppress(FileNotFoundError):
            os.chmod(temporary, stat.S_IMODE(os.stat(path).st_mode))
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
        os.close(descriptor)


def _delete_abandoned(folder: Path, start: str) -> None:
    """Deletes the temporary files of processes that have died."""
    for other in folder.glob(f"{start}*"):
        with suppress(OSError):
            descriptor = os.open(other, os.O_RDWR)
            try:
                if try_lock(descriptor):
                    other.unlink()
            finally:
                os.close(descriptor)


def _sync(path: Path) -> None:
    """Waits until a file or the entries of a folder are on the disk, where that is possible."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
