"""Frames from files: images of any size, read piece by piece where the format allows it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from distax.io.images import open_images

FITS_SUFFIXES = (".fits", ".fit", ".fts", ".fz")

Sky = Callable[
    [Float[np.ndarray, " K"], Float[np.ndarray, " K"]],
    tuple[Float[np.ndarray, " K"], Float[np.ndarray, " K"]],
]
"""Rows and columns in pixels to right ascensions and declinations in degrees (ICRS)."""


@runtime_checkable
class Pixels(Protocol):
    """What a frame is read from: an array, a mapped file, or anything sliced like one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Height and width in pixels."""

    def __getitem__(self, rows: slice, /) -> Any:
        """Those rows, as an array."""


@dataclass(frozen=True)
class Frame:
    """One image of any size, as a file holds it.

    Attributes:
      pixels: what reads its rows; values as stored, in units of `unit`.
      unit: what the file says its values are in (BUNIT); empty if it does not.
      sky: where on the sky pixels lie; None without celestial coordinates.
      wcs: FITS keywords that say the same.
      saturation: value at which a pixel is saturated, if the file says so (SATURATE).
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
        """FITS keywords for images of the same unit and the same place on the sky."""
        return ({"BUNIT": self.unit} if self.unit else {}) | dict(self.wcs)


@contextmanager
def open_frames(path: Path, extension: str | None = None) -> Iterator[list[Frame]]:
    """The images of a file, which stays open for the block.

    Args:
      path: a FITS file (also .gz and .fz), or what `open_images` reads: each page of a TIFF and
        each image of an NPY stack is a frame.
      extension: name or number of the FITS extension; the first with a two-dimensional image
        without it.

    Raises:
      DistaxError: no such file or extension, another format, or a damaged file.
    """
    if path.name.lower().removesuffix(".gz").endswith(FITS_SUFFIXES):
        from distax.io.fits import open_fits

        with open_fits(path, extension) as frame:
            yield [frame]
    else:
        yield [Frame(pixels=image) for image in open_images(path)]
