"""Images of any size that are read row by row, with their unit and sky coordinates."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

Sky = Callable[
    [Float[np.ndarray, " K"], Float[np.ndarray, " K"]],
    tuple[Float[np.ndarray, " K"], Float[np.ndarray, " K"]],
]
"""Converts rows and columns in pixels to right ascensions and declinations in degrees (ICRS)."""


@runtime_checkable
class Pixels(Protocol):
    """An image's pixels: an array, a memory-mapped file, or anything else sliced by rows."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Height and width in pixels."""

    def __getitem__(self, rows: slice, /) -> Any:
        """Returns some rows as an array `[rows, width]`."""


@dataclass(frozen=True)
class Frame:
    """One image of any size in a file.

    Attributes:
      pixels: its pixels, read by rows; values as stored, in units of `unit`.
      unit: unit of the values (BUNIT); empty if the file does not state it.
      sky: conversion of pixel positions to sky coordinates; None without celestial coordinates.
      wcs: FITS keywords of the same coordinates.
      saturation: value at which a pixel is saturated (SATURATE); None if the file does not state
        it.
    """

    pixels: Pixels
    unit: str = ""
    sky: Sky | None = None
    wcs: Mapping[str, Any] = field(default_factory=dict)
    saturation: float | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.pixels.shape
        return height, width

    @property
    def header(self) -> dict[str, Any]:
        """FITS keywords for images with the same unit and sky coordinates."""
        return ({"BUNIT": self.unit} if self.unit else {}) | dict(self.wcs)
