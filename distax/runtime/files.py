"""Files that appear whole or not at all."""

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from distax.runtime.errors import DistaxError


def check_suffix(path: Path, what: str, known: Iterable[str]) -> None:
    """Raise DistaxError for a suffix that names none of the known formats of what is written."""
    if path.suffix not in known:
        raise DistaxError(
            f"{path}: no format of {what} has the suffix {path.suffix!r}; known are "
            f"{', '.join(known)}"
        )


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary path to write to, which becomes `path` only if the block succeeds.

    Raises:
      DistaxError: the file cannot be written; what stood at `path` before still does.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=path.suffix)
        os.close(handle)
    except OSError as error:
        raise DistaxError(f"{path}: cannot be written ({error.strerror})") from error
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise DistaxError(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all; see `atomic_write`."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
