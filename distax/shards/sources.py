"""Shards of images on disk: NPY arrays, and ArrayRecord files as distax's datasets write them."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from etils import epath
from jaxtyping import Float

from distax.imaging.checks import as_counts
from distax.io.arrays import read_npy_header
from distax.runtime.checksums import file_checksum
from distax.runtime.devices import check_regular
from distax.runtime.errors import DistaxError
from distax.shards.records import open_records, parse_features, read_records

PathLike = str | os.PathLike[str]

_NPY, _ARRAY_RECORD = ".npy", ".array_record"


@runtime_checkable
class Shard(Protocol):
    """An open shard, whose images are read in portions."""

    def __len__(self) -> int:
        """Returns the number of images."""

    def read(self, start: int, stop: int) -> Float[np.ndarray, "N height width"]:
        """Reads the images from `start` to `stop` in counts.

        Raises:
          DistaxError: they cannot be read.
        """


def find_shards(paths: Iterable[PathLike]) -> list[epath.Path]:
    """Lists the shards that paths name, in the order of the paths.

    Args:
      paths: shards; folders, which stand for all shards in them by name; or patterns such as
        `images/*.npy`.

    Raises:
      DistaxError: a path names nothing, or a file that is no shard.
    """
    found: dict[epath.Path, None] = {}
    for path in map(epath.Path, paths):
        found |= dict.fromkeys(_shards_of(path))
    if not found:
        raise DistaxError("no shards given; name .npy or .array_record files, or their folder")
    return list(found)


def _shards_of(path: epath.Path) -> list[epath.Path]:
    """Lists the shards that one path names."""
    if path.is_dir():
        within = sorted(filter(_is_shard, path.iterdir()))
        if not within:
            raise DistaxError(f"{path}: the folder holds no .npy and no .array_record files")
        return within
    if not path.exists() and any(sign in path.name for sign in "*?["):
        within = sorted(filter(_is_shard, path.parent.glob(path.name)))
        if not within:
            raise DistaxError(f"{path}: no .npy or .array_record file has a name like this")
        return within
    if not path.exists():
        raise DistaxError(f"{path}: there is no such shard")
    if not _is_shard(path):
        raise DistaxError(f"{path}: a shard is an .npy or .array_record file, or a folder of them")
    return [path]


def _is_shard(path: epath.Path) -> bool:
    """Returns True for the name of a shard, such as a.npy and a.array_record-00000-of-00008."""
    known = path.name.endswith(_NPY) or _ARRAY_RECORD in path.name
    return known and not path.name.startswith(".")


def plain_name(path: PathLike) -> str:
    """Returns a shard's name without its suffix."""
    return epath.Path(path).name.removesuffix(_NPY).replace(_ARRAY_RECORD, "")


def describe_shard(path: PathLike) -> dict[str, Any]:
    """Describes a shard by its file's name, its length in bytes and the CRC-32 of its content.

    The whole file is read, which takes far less time than to unmix it.

    Raises:
      DistaxError: the file cannot be read, or is a pipe or a device.
    """
    file = epath.Path(path)
    check_regular(Path(file))
    try:
        return {"name": file.name, "bytes": file.stat().length, "crc32": file_checksum(file)}
    except OSError as error:
        raise _unreadable(file, error) from error


@contextmanager
def open_shard(path: PathLike, shape: tuple[int, int]) -> Iterator[Shard]:
    """Opens a shard of images of a given height and width.

    Args:
      path: an .npy file with images along its first axis, or an ArrayRecord file of TFDS examples
        with the images' 8-bit pixels under `image`, as distax's datasets are stored.
      shape: height and width in pixels.

    Raises:
      DistaxError: the file cannot be read, is damaged or truncated, or holds no images of this
        size; or there is a pipe or a device, which may never end.
    """
    file = epath.Path(path)
    check_regular(Path(file))
    if file.name.endswith(_NPY):
        try:
            with file.open("rb") as content:
                yield _open_npy(file, content, shape)
        except OSError as error:
            raise _unreadable(file, error) from error
    else:
        with open_records(file) as records:
            yield ArrayRecordShard(file, records, shape)


@dataclass(frozen=True)
class NpyShard:
    """Images in an NPY file, read in portions.

    The file is not mapped into memory, because the pages of a mapped file count as memory in use.
    """

    path: epath.Path
    content: IO[bytes]
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, start: int, stop: int) -> Float[np.ndarray, "N height width"]:
        each = self.dtype.itemsize * self.shape[1] * self.shape[2]
        self.content.seek(self.offset + start * each)
        held = self.content.read((stop - start) * each)
        if len(held) < (stop - start) * each:
            raise _truncated(self.path, len(self))
        pixels = np.frombuffer(held, self.dtype).reshape(stop - start, *self.shape[1:])
        return as_counts(pixels, str(self.path))


def _open_npy(path: epath.Path, content: IO[bytes], shape: tuple[int, int]) -> NpyShard:
    """Reads the header of an NPY file, and checks it against the file's length."""
    try:
        stored, by_columns, dtype = read_npy_header(content)
    except ValueError as error:
        raise DistaxError(
            f"{path}: not an NPY file in spite of its name, or damaged; save it again as .npy"
        ) from error
    if len(stored) != 3 or stored[1:] != shape:
        raise DistaxError(
            f"{path}: an array of shape {stored}; a shard of this sensor holds images × {shape[0]} "
            f"× {shape[1]} px"
        )
    if not any(jnp.issubdtype(dtype, kind) for kind in (np.floating, np.integer)):
        raise DistaxError(f"{path}: an array of {dtype}, not of counts; save integers or floats")
    if by_columns:
        raise DistaxError(
            f"{path}: its images are interleaved (Fortran order); save it again as "
            "numpy.ascontiguousarray"
        )
    offset = content.tell()
    if content.seek(0, os.SEEK_END) < offset + dtype.itemsize * int(np.prod(stored)):
        raise _truncated(path, stored[0])
    return NpyShard(path, content, offset, stored, dtype)


def _unreadable(path: epath.Path, error: OSError) -> DistaxError:
    return DistaxError(f"{path}: cannot be read ({error.strerror or error})")


def _truncated(path: epath.Path, images: int) -> DistaxError:
    return DistaxError(f"{path}: truncated, as it should hold {images} images; copy it again")


@dataclass(frozen=True)
class ArrayRecordShard:
    """Images in an ArrayRecord file of TFDS examples, as 8-bit counts."""

    path: epath.Path
    records: Any
    shape: tuple[int, int]

    def __len__(self) -> int:
        return int(self.records.num_records())

    def read(self, start: int, stop: int) -> Float[np.ndarray, "N height width"]:
        pixels = b"".join(map(self._pixels, read_records(self.path, self.records, start, stop)))
        counts = np.frombuffer(pixels, np.uint8).reshape(stop - start, *self.shape)
        return counts.astype(np.float32)

    def _pixels(self, record: bytes) -> bytes:
        fields = parse_features(self.path, record)
        pixels = b"".join(fields["image"].bytes_list.value) if "image" in fields else b""
        if len(pixels) != self.shape[0] * self.shape[1]:
            raise DistaxError(
                f"{self.path}: a record holds no image of {self.shape[0]}×{self.shape[1]} px with "
                "8 bits; save other images as .npy"
            )
        return pixels
