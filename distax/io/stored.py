"""Arrays in files, read by seeking rather than mapped into memory.

A process that reads mapped memory beyond the end of its file is killed. So a file that another
program shortens is read, and gives an error instead.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Num, Shaped

from distax.io.pixels import Pixels
from distax.io.reading import Reading
from distax.runtime.errors import DistaxError

_GROUP = 2**26
"""Bytes of the images that are read at once from a file in which images are interleaved."""
_CHUNK = 2**24
"""Bytes that are read at a time from such a file."""


def read_array(
    file: Any, start: int, dtype: np.dtype, shape: tuple[int, ...], where: object
) -> Shaped[np.ndarray, "..."]:
    """Reads an array of C order from a place in a file.

    Args:
      file: the open file.
      start: offset of the first byte.
      dtype: type of the numbers.
      shape: shape of the array.
      where: the file, and the image in it, for the error message.

    Raises:
      DistaxError: the file ends before the array does.
    """
    array = np.empty(shape, dtype)
    file.seek(start)
    # A view of bytes, because some types have no buffer of their own.
    if array.size and file.readinto(array.reshape(-1).view(np.uint8)) < array.nbytes:
        raise DistaxError(
            f"{where}: became shorter while it was read; wait until no other program writes it"
        )
    return array


@dataclass(frozen=True)
class StoredImages:
    """Images in a file, one after the other or interleaved.

    Attributes:
      file: the open file.
      where: the file, for error messages.
      start: offset of the first pixel in bytes.
      dtype: type of the numbers.
      shape: number of images, height and width, and the number of colours if there is such an axis.
      fortran: True if the first axis varies fastest, so that the images are interleaved.
      reading: settings of the reader.
    """

    file: Any
    where: object
    start: int
    dtype: np.dtype
    shape: tuple[int, ...]
    fortran: bool
    reading: Reading

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, number: int) -> Pixels:
        """Returns the pixels of an image, which are read by rows; interleaved ones as a whole."""
        return _OneOfMany(self, number) if self.fortran else _Rows(self, number)

    @cached_property
    def interleaved(self) -> "_Interleaved":
        """Reader of interleaved images, which keeps those that it read last."""
        return _Interleaved(self)


@dataclass(frozen=True)
class _Rows:
    """Rows of one of several images that follow each other."""

    stored: StoredImages
    number: int

    @property
    def shape(self) -> tuple[int, ...]:
        return self.stored.shape[1:]

    def __getitem__(self, rows: slice) -> Num[np.ndarray, "rows width *colours"]:
        stored, (height, *row) = self.stored, self.shape
        first, last, step = rows.indices(height)
        if step != 1:
            return self[:][rows]
        before = (self.number * height + first) * math.prod(row) * stored.dtype.itemsize
        shape = max(last - first, 0), *row
        return read_array(stored.file, stored.start + before, stored.dtype, shape, stored.where)


@dataclass(frozen=True)
class _OneOfMany:
    """One of several interleaved images."""

    stored: StoredImages
    number: int

    @property
    def shape(self) -> tuple[int, ...]:
        return self.stored.shape[1:]

    @cached_property
    def _all(self) -> Num[np.ndarray, "height width *colours"]:
        return self.stored.interleaved.image(self.number)

    def __getitem__(self, rows: slice) -> Num[np.ndarray, "rows width *colours"]:
        return self._all[rows]


class _Interleaved:
    """Groups of interleaved images, of which the last one read is kept."""

    def __init__(self, stored: StoredImages):
        self._stored = stored
        size = math.prod(stored.shape[1:]) * stored.dtype.itemsize
        self._number = min(max(1, _GROUP // size), len(stored))
        stored.reading.check_size(stored.where, self._number * size)
        self._first: int | None = None
        self._group = np.empty((0, 0), stored.dtype)

    def image(self, number: int) -> Num[np.ndarray, "height width *colours"]:
        """Returns an image; its group is read if it is not the last one read."""
        first = number - number % self._number
        if first != self._first:
            self._first, self._group = None, self._read(first)
            self._first = first
        return self._group[:, number - first].reshape(self._stored.shape[1:], order="F")

    def _read(self, first: int) -> Num[np.ndarray, "pixels images"]:
        stored, (images, *rest) = self._stored, self._stored.shape
        pixels, size = math.prod(rest), images * stored.dtype.itemsize
        if images == 1:
            return read_array(stored.file, stored.start, stored.dtype, (pixels, 1), stored.where)
        group = np.empty((pixels, min(self._number, images - first)), stored.dtype)
        at_once = max(1, _CHUNK // size)
        for pixel in range(0, pixels, at_once):
            shape = min(at_once, pixels - pixel), images
            start = stored.start + pixel * size
            part = read_array(stored.file, start, stored.dtype, shape, stored.where)
            group[pixel : pixel + len(part)] = part[:, first : first + group.shape[1]]
        return group
