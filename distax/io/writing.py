"""Images that are written row by row, so that they need not fit in memory."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float

from distax.io.frames import Pixels
from distax.runtime.files import atomic_write, check_suffix
from distax.runtime.optional import require

SUFFIXES = (".fits", ".npy")
"""Of the formats that can be written."""

_PIXELS_AT_ONCE = 2**21


def check_image_path(path: Path) -> None:
    """Raise DistaxError for a suffix that names no format that can be written."""
    check_suffix(path, "images", SUFFIXES)
    if path.suffix == ".fits":
        require("astropy", "FITS files")


def write_image(
    path: Path, pixels: Pixels, keywords: Mapping[str, Any] = MappingProxyType({})
) -> None:
    """Write an image as float32, some rows at a time.

    Args:
      path: .fits or .npy, written whole or not at all.
      pixels: `[height, width]`, what reads its rows.
      keywords: for the header of FITS.

    Raises:
      DistaxError: another suffix, or the file cannot be written.
    """
    check_image_path(path)
    write = _write_fits if path.suffix == ".fits" else _write_npy
    with atomic_write(path) as temporary:
        write(temporary, pixels, keywords)


def _pieces(pixels: Pixels) -> Iterator[tuple[slice, Float[np.ndarray, "rows width"]]]:
    height, width = pixels.shape
    rows = max(1, _PIXELS_AT_ONCE // width)
    for first in range(0, height, rows):
        place = slice(first, min(first + rows, height))
        yield place, np.asarray(pixels[place], np.float32)


def _write_npy(path: Path, pixels: Pixels, keywords: Mapping[str, Any]) -> None:
    shape = tuple(pixels.shape)
    image = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    for place, values in _pieces(pixels):
        image[place] = values
    image.flush()


def _write_fits(path: Path, pixels: Pixels, keywords: Mapping[str, Any]) -> None:
    from astropy.io import fits

    height, width = pixels.shape
    header = fits.Header()
    header.update(SIMPLE=True, BITPIX=-32, NAXIS=2, NAXIS1=width, NAXIS2=height)
    header.update(keywords)
    stream = fits.StreamingHDU(str(path), header)
    try:
        for _, values in _pieces(pixels):
            stream.write(values)
    finally:
        stream.close()
