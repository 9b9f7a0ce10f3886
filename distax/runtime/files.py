"""Atomic writing and local copies of files, on disk and in buckets."""

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from distax.runtime.buckets import BucketPath, as_path
from distax.runtime.devices import check_regular, is_device, open_device
from distax.runtime.errors import DistaxError, naming_what_fails
from distax.runtime.unfinished import unfinished


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
    """Checks the place of an output: a file on disk, or one in a bucket.

    Raises:
      DistaxError: a file lies where a folder must be; the folder or the device may not be written,
        or the file is another user's in a folder such as /tmp;
        the system cannot look up the name, as it is too long or a link to itself; the bucket cannot
        be read.
    """
    if isinstance(path, BucketPath):
        return path.check()
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise DistaxError(f"{path}: cannot be written ({error.strerror or error})") from error
    there = next((place for place in _target(path).parents if os.path.exists(place)), Path())
    if not there.is_dir():
        raise DistaxError(f"{path}: cannot be written, as {there} is not a folder")
    if not os.access(path if is_device(path) else there, os.W_OK) or _is_protected(path, there):
        raise DistaxError(f"{path}: cannot be written ({os.strerror(errno.EACCES)})")


def _is_protected(path: Path, folder: Path) -> bool:
    """Returns True for a file of another user in a folder such as /tmp, where it must stay."""
    if is_device(path) or not path.exists() or not os.stat(folder).st_mode & stat.S_ISVTX:
        return False
    return os.geteuid() not in (0, os.stat(path).st_uid, os.stat(folder).st_uid)


def check_outputs(
    outputs: Mapping[str, Path | None], inputs: Iterable[Path | str | None] = ()
) -> None:
    """Checks the files that a command will write, before its work.

    Args:
      outputs: the files by the options that name them; None for those that are not asked for.
      inputs: the files that the command reads; None for those that are not given.

    Raises:
      DistaxError: an output is a folder, lies in a folder that cannot be made, or is the same file
        as an input or another output, also through a link or a mount.
    """
    taken = {_identity(as_path(path)): "an input" for path in inputs if path is not None}
    for option, path in outputs.items():
        if path is None:
            continue
        # Unlike Path's methods, this takes a name that is too long as one that does not exist.
        if os.path.isdir(path):
            raise DistaxError(f"{option}: {path} is a folder; name a file in it")
        check_place(path)
        place = _identity(path)
        if place in taken:
            raise DistaxError(f"{option}: {path} is also {taken[place]}; name another file")
        taken[place] = f"the file of {option}"


def _identity(path: Path) -> tuple[object, ...]:
    """Returns what two paths of the same file have in common, also through links and mounts."""
    if isinstance(path, BucketPath):
        return (path,)
    with suppress(OSError):
        about = os.stat(path)
        return about.st_dev, about.st_ino
    place = Path(os.path.realpath(path))
    with suppress(OSError):
        about = os.stat(place.parent)
        return about.st_dev, about.st_ino, place.name
    return (place,)


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yields a temporary path, which replaces `path` only if the block succeeds.

    The replacement is one atomic rename; see `unfinished.unfinished`. A link is kept, and the file
    that it leads to is replaced. If `path` is a pipe or another device, the temporary file is
    copied into it. If `path` is in a bucket, one request uploads the temporary file.

    Raises:
      DistaxError: the file cannot be written; an existing file at `path` is unchanged.
    """
    check_place(path)
    if isinstance(path, BucketPath):
        with tempfile.TemporaryDirectory() as folder, naming_what_fails(path):
            local = Path(folder, path.name)
            yield local
            path.upload(local)
        return
    file = _device(path) if is_device(path) else unfinished(_target(path))
    with naming_what_fails(path), file as temporary:
        yield temporary


@contextmanager
def _device(path: Path) -> Iterator[Path]:
    """Yields a path on disk, whose content is written into a device after the block."""
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder, f"content{path.suffix}")
        yield local
        with local.open("rb") as content, open_device(path) as device:
            shutil.copyfileobj(content, device)


def _target(path: Path) -> Path:
    """Returns the file that a link leads to, so that the link stays."""
    # Unlike `Path.resolve`, `realpath` accepts links in a circle.
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically; see `atomic_write`."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def local_copy(path: Path) -> Iterator[Path]:
    """Yields the path of a file on disk with the same content, for readers of disks only.

    It is `path` itself, or a temporary copy of an object in a bucket. On Linux, a copy that is
    mapped into memory can be used after the block.

    Raises:
      DistaxError: there is a pipe or a device, which may never end.
      FileNotFoundError: the bucket has no such object.
      OSError: the object cannot be read.
    """
    if not isinstance(path, BucketPath):
        check_regular(path)
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder, path.name)
        path.download(local)
        yield local


class GrowingFiles:
    """A folder on disk for files that grow while a program runs.

    On disk it is the folder itself. For a folder in a bucket, where objects cannot grow, it is a
    temporary folder, and `upload` copies the changed files to the bucket.

    Args:
      folder: the folder, on disk or in a bucket.
      known: names of existing files that will grow; they are downloaded from a bucket.

    Attributes:
      local: the folder on disk.
      copies: True if what is in it is copied to a bucket.

    Raises:
      DistaxError: the folder cannot be written.
    """

    def __init__(self, folder: Path, known: Iterable[str] = ()):
        self._folder = folder
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._uploaded: dict[Path, tuple[int, int]] = {}
        self.local, self.copies = folder, isinstance(folder, BucketPath)
        if isinstance(folder, BucketPath):
            folder.check()
            self._temporary = tempfile.TemporaryDirectory()
            self.local = Path(self._temporary.name)
            for name in known:
                with suppress(FileNotFoundError):
                    (folder / name).download(self.local / name)
        with naming_what_fails(folder):
            self.local.mkdir(parents=True, exist_ok=True)

    def upload(self) -> None:
        """Writes the files that changed since the last call to the bucket, if there is one.

        Raises:
          DistaxError: an object cannot be written.
        """
        if not isinstance(self._folder, BucketPath):
            return
        for path in sorted(filter(Path.is_file, self.local.rglob("*"))):
            target = self._folder / path.relative_to(self.local)
            try:
                with naming_what_fails(target):
                    about = path.stat()
                    state = about.st_size, about.st_mtime_ns
                    if self._uploaded.get(path) != state:
                        target.upload(path)
                    self._uploaded[path] = state
            except DistaxError:
                # Another process may write here too, as W&B's does, and delete what it has written.
                if path.exists():
                    raise

    def close(self) -> None:
        """Uploads the files that changed, and deletes the temporary folder."""
        try:
            self.upload()
        finally:
            if self._temporary:
                self._temporary.cleanup()
