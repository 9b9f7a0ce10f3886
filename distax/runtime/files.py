"""Atomic writing of files: a file is complete or not there at all."""

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from distax.runtime.errors import DistaxError


def check_suffix(path: Path, what: str, known: Iterable[str]) -> None:
    """Raises DistaxError if a path's suffix is not one of the known formats.

    Args:
      path: the file to write.
      what: its content, for the error message.
      known: the suffixes of the known formats.
    """
    if path.suffix not in known:
        raise DistaxError(
            f"{path}: no format of {what} has the suffix {path.suffix!r}; known are "
            f"{', '.join(known)}"
        )


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yields a temporary path, which replaces `path` only if the block succeeds.

    The temporary file is in the same folder, so that the replacement is one atomic rename.

    Raises:
      DistaxError: the file cannot be written; an existing file at `path` is unchanged.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=path.suffix)
        os.close(handle)
    except OSError as error:
        raise DistaxError(f"{path}: cannot be written ({error.strerror or error})") from error
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise DistaxError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically; see `atomic_write`."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
