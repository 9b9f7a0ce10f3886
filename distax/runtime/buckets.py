"""Paths in buckets, such as gs://bucket/folder/file, which take the place of paths on disk.

An object is written by one request: readers see the whole old object or the whole new one. Folders
are prefixes of names, so they need not be made. fsspec and gcsfs make all requests.
"""

import errno
import io
import os
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path, PosixPath
from typing import Any

from etils import epath

from distax.runtime.errors import DistaxError, first_line
from distax.runtime.optional import require


class BucketPath(PosixPath):
    """A place in a bucket, with those methods of `Path` that distax uses.

    Make one by `as_path`. Use `distax.runtime.files.atomic_write` to write an object. Methods that
    are not listed here, such as `stat`, look on the disk and find nothing.
    """

    def __str__(self) -> str:
        # Path merges the two slashes into one.
        return super().__str__().replace(":/", "://", 1)

    @property
    def bucket(self) -> str:
        """Name of the bucket."""
        return self.parts[1]

    def check(self) -> None:
        """Checks that the bucket can be read.

        Raises:
          DistaxError: gcsfs is not installed, there is no such bucket, or the network or the
            credentials do not let this process read it.
        """
        storage = _storage()
        try:
            storage.call("GET", "b/{}/o", self.bucket, maxResults=1)
        except FileNotFoundError:
            raise DistaxError(
                f"{self}: there is no bucket {self.bucket}; make it first or correct the name"
            ) from None
        # gcsfs, its HTTP client and its credentials raise exceptions of many types.
        except Exception as error:
            raise DistaxError(
                f"{self}: the bucket cannot be read ({first_line(error)}); check the network and "
                "the credentials (gcloud auth application-default login)"
            ) from error

    def resolve(self, strict: bool = False) -> "BucketPath":
        """Returns the path itself, which is absolute."""
        return self

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        """Returns True for an object, and for a folder with objects."""
        with self._requests() as storage:
            return bool(storage.exists(str(self)))

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Returns True for an object."""
        with self._requests() as storage:
            return bool(storage.isfile(str(self)))

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Returns True for a folder with objects."""
        with self._requests() as storage:
            return bool(storage.isdir(str(self)))

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """Does nothing: a folder is there as soon as it holds an object."""

    def iterdir(self) -> Generator["BucketPath", None, None]:
        """Yields the objects and folders in a folder."""
        with self._requests() as storage:
            names = storage.ls(str(self), detail=False)
        for name in names:
            # An empty object can stand for the folder itself.
            if (path := BucketPath(f"gs://{name}")) != self:
                yield path

    def glob(  # type: ignore[override]
        self, pattern: str, **_: Any
    ) -> Generator["BucketPath", None, None]:
        """Yields the objects and folders directly in a folder whose names match a pattern."""
        if self.is_dir():
            yield from (path for path in self.iterdir() if fnmatchcase(path.name, pattern))

    def read_bytes(self) -> bytes:
        """Reads a whole object."""
        with self._requests() as storage:
            content: bytes = storage.cat_file(str(self))
        return content

    def read_text(self, encoding: str | None = None, *_: Any, **__: Any) -> str:
        """Reads a whole object as text."""
        return self.read_bytes().decode(encoding or "utf-8")

    def open(self, mode: str = "r", *_: Any, **__: Any) -> Any:
        """Reads a whole object, and opens the copy for reading."""
        if "r" not in mode or "+" in mode:
            raise OSError(errno.EROFS, "an object can only be written whole", str(self))
        return io.BytesIO(self.read_bytes()) if "b" in mode else io.StringIO(self.read_text())

    def write_bytes(self, data: Any) -> int:
        """Writes a whole object."""
        with self._requests() as storage:
            storage.pipe_file(str(self), bytes(data))
        return len(data)

    def write_text(self, data: str, *_: Any, **__: Any) -> int:  # type: ignore[override]
        """Writes a whole object as UTF-8."""
        self.write_bytes(data.encode("utf-8"))
        return len(data)

    def upload(self, local: Path) -> None:
        """Writes the content of a file on disk as an object."""
        with self._requests() as storage:
            storage.put_file(str(local), str(self))

    def download(self, local: Path) -> None:
        """Writes the content of an object to a file on disk."""
        with self._requests() as storage:
            storage.get_file(str(self), str(local))

    @contextmanager
    def _requests(self) -> Iterator[Any]:
        """Yields fsspec's access to the bucket, and turns its exceptions into those of files."""
        try:
            yield _storage()
        except DistaxError:
            raise
        except FileNotFoundError as error:
            raise FileNotFoundError(errno.ENOENT, "no such object or bucket", str(self)) from error
        except Exception as error:
            raise OSError(errno.EIO, first_line(error), str(self)) from error


def _storage() -> Any:
    """Returns fsspec's access to all buckets.

    Raises:
      DistaxError: gcsfs is not installed.
    """
    require("gcsfs", "places in buckets")
    import fsspec

    # Other processes write to the bucket too, so no listing is cached. The same setting holds for
    # etils, through which Orbax lists folders.
    fsspec.config.conf.setdefault("gcs", {})["use_listings_cache"] = False
    return fsspec.filesystem("gcs")


def as_path(place: str | os.PathLike[str]) -> Path:
    """Returns the path of a place on disk, or in a bucket if its name begins with gs://.

    Raises:
      DistaxError: the name begins with another scheme, or names no bucket.
    """
    name = os.fspath(place)
    scheme = re.match(r"([A-Za-z][\w+.-]*)://", name)
    if scheme is None:
        return place if isinstance(place, Path) else Path(name)
    if scheme[1] != "gs":
        raise DistaxError(
            f"{name}: {scheme[1]}:// is not known; name a place on disk or in a bucket, as "
            "gs://bucket/folder"
        )
    if not re.match(r"gs://[^/]", name):
        raise DistaxError(f"{name}: names no bucket; write gs://bucket/folder")
    return BucketPath(name)


def is_in_bucket(place: Path | epath.Path) -> bool:
    """Returns True for a place in a bucket."""
    return "://" in str(place)


def as_epath(place: str | os.PathLike[str]) -> epath.Path:
    """Checks a place's bucket, and returns the place as the path of etils that Orbax takes.

    Raises:
      DistaxError: as `as_path` and `BucketPath.check`.
    """
    path = as_path(place)
    if isinstance(path, BucketPath):
        path.check()
    return epath.Path(str(path))
