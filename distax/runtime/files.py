"""Atomic writing of files: a file is complete or not there at all."""

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
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


def check_place(path: Path) -> None:
    """Raises DistaxError for a path that cannot be written, as a file is where a folder must be."""
    there = next((place for place in path.parents if os.path.exists(place)), Path())
    if not there.is_dir():
        raise DistaxError(f"{path}: cannot be written, as {there} is not a folder")


def check_outputs(outputs: Mapping[str, Path | None], inputs: Iterable[Path] = ()) -> None:
    """Checks the files that a command will write, before its work.

    Args:
      outputs: the files by the options that name them; None for those that are not asked for.
      inputs: the files that the command reads.

    Raises:
      DistaxError: an output is a folder, is in a place that is none, or is an input or another
        output, also through a link.
    """
    taken = {path.resolve(): "an input" for path in inputs}
    for option, path in outputs.items():
        if path is None:
            continue
        # Unlike Path's methods, this takes a name that is too long as one that does not exist.
        if os.path.isdir(path):
            raise DistaxError(f"{option}: {path} is a folder; name a file in it")
        check_place(path)
        place = path.resolve()
        if place in taken:
            raise DistaxError(f"{option}: {path} is also {taken[place]}; name another file")
        taken[place] = f"the file of {option}"


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yields a temporary path, which replaces `path` only if the block succeeds.

    The temporary file is in the same folder, so that the replacement is one atomic rename.

    Raises:
      DistaxError: the file cannot be written; an existing file at `path` is unchanged.
    """
    check_place(path)
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
