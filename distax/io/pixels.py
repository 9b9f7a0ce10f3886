"""Images of any size that are read row by row, with their mask, unit and sky coordinates."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Num

Sky = Callable[
    [Float[np.ndarray, " K"], Float[np.ndarray, " K"]],
    tuple[Float[np.ndarray, " K"], Float[np.ndarray, " K"]],
]
"""Converts rows and columns in pixels to right ascensions and declinations in degrees (ICRS)."""


@runtime_checkable
class Pixels(Protocol):
    """An image's pixels: an array, a memory-mapped file, or another object to slice by rows."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Height and width in pixels."""

    def __getitem__(self, rows: slice, /) -> Any:
        """Returns some rows as an array `[rows, width]`."""


@dataclass(frozen=True)
class Decoded:
    """Pixels of an image that is decoded as a whole when rows are first read.

    Attributes:
      shape: height and width in pixels.
      decode: returns the pixels `[height, width]`.
    """

    shape: tuple[int, int]
    decode: Callable[[], np.ndarray]

    @cached_property
    def _all(self) -> Num[np.ndarray, "height width"]:
        return self.decode()

    def __getitem__(self, rows: slice) -> Num[np.ndarray, "rows width"]:
        """Returns rows as they are stored."""
        return self._all[rows]


@dataclass(frozen=True)
class Masked:
    """Pixels, with NaN in place of those that a mask marks.

    Attributes:
      stored: the pixels.
      mask: an image of the same size, in which values other than zero mark bad pixels.
    """

    stored: Pixels
    mask: Pixels

    @property
    def shape(self) -> tuple[int, ...]:
        """Height and width in pixels."""
        return tuple(self.stored.shape)

    def __getitem__(self, rows: slice) -> Float[np.ndarray, "rows width"]:
        """Returns rows as floats, with NaN for bad pixels."""
        counts = to_floats(self.stored[rows])
        return np.where(marked(self.mask[rows]), np.nan, counts).astype(counts.dtype)


def to_floats(pixels: Num[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Converts counts to float32, or to float64 where float32 would round them.

    Integers of 8 and 16 bits and float16 fit float32. Integers of 32 and 64 bits become float64,
    which is exact up to 2⁵³.
    """
    return np.asarray(pixels, np.result_type(pixels, np.float32))


def marked(mask: np.ndarray) -> Bool[np.ndarray, "..."]:
    """Returns True where a mask marks a bad pixel, by NaN or by a value other than zero."""
    return np.asarray(mask) != 0  # NaN differs from zero


@dataclass(frozen=True)
class Frame:
    """One image of any size in a file.

    Attributes:
      stored: its pixels, read by rows; values and type exactly as stored, in units of `unit`.
      unit: unit of the values (BUNIT); empty if the file does not state it.
      sky: conversion of pixel positions to sky coordinates; None without celestial coordinates.
      wcs: FITS keywords of the same coordinates.
      saturation: value at which a pixel is saturated (SATURATE); None if the file does not state
        it.
      mask: an image of the same size, in which values other than zero mark bad pixels; None for no
        mask.
    """

    stored: Pixels
    unit: str = ""
    sky: Sky | None = None
    wcs: Mapping[str, Any] = field(default_factory=dict)
    saturation: float | None = None
    mask: Pixels | None = None

    @property
    def pixels(self) -> Pixels:
        """The pixels as stored if there is no mask; otherwise floats, with NaN for bad pixels."""
        return self.stored if self.mask is None else Masked(self.stored, self.mask)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.stored.shape
        return height, width

    @property
    def header(self) -> dict[str, Any]:
        """FITS keywords for images with the same unit and sky coordinates."""
        return ({"BUNIT": self.unit} if self.unit else {}) | dict(self.wcs)


@dataclass(frozen=True)
class Frames:
    """The frames of a file. Each is opened when it is accessed.

    Attributes:
      length: number of frames.
      open: opens a frame by its number.
      masked: True if the file itself marks bad pixels.
    """

    length: int
    open: Callable[[int], Frame]
    masked: bool = False

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> Frame:
        return self.open(range(self.length)[number])

    def __iter__(self) -> Iterator[Frame]:
        return map(self.open, range(self.length))
