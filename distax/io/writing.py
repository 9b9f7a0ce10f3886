"""Writing of images in blocks of rows, so that they need not fit in memory."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float

from distax.io.pixels import Pixels
from distax.runtime.files import atomic_write, check_suffix
from distax.runtime.optional import require

SUFFIXES = (".fits", ".npy")
"""Suffixes of the image formats that can be written."""

# Pixels that are written at once. More need more memory, fewer need more calls.
_PIXELS_AT_ONCE = 2**21


def check_image_path(path: Path) -> None:
    """Raises DistaxError if the suffix is not that of a format that can be written."""
    check_suffix(path, "images", SUFFIXES)
    if path.suffix == ".fits":
        require("astropy", "FITS files")


def write_image(
    path: Path, pixels: Pixels, keywords: Mapping[str, Any] = MappingProxyType({})
) -> None:
    """Writes an image as float32, some rows at a time, atomically.

    Args:
      path: a .fits or .npy file.
      pixels: the image `[height, width]`, read by rows.
      keywords: keywords of the FITS header; ignored for NPY.

    Raises:
      DistaxError: the suffix is another one, or the file cannot be written.
    """
    check_image_path(path)
    write = _write_fits if path.suffix == ".fits" else _write_npy
    with atomic_write(path) as temporary:
        write(temporary, pixels, keywords)


def _row_blocks(pixels: Pixels) -> Iterator[tuple[slice, Float[np.ndarray, "rows width"]]]:
    """Yields slices of rows and their values, from the first row to the last."""
    height, width = pixels.shape
    rows = max(1, _PIXELS_AT_ONCE // width)
    for first in range(0, height, rows):
        block = slice(first, min(first + rows, height))
        yield block, np.asarray(pixels[block], np.float32)


def _write_npy(path: Path, pixels: Pixels, keywords: Mapping[str, Any]) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": tuple(pixels.shape)}
    # Not mapped into memory, as a full disk would then end the process instead of raising OSError.
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for _, values in _row_blocks(pixels):
            file.write(np.ascontiguousarray(values, "<f4").data)


def _write_fits(path: Path, pixels: Pixels, keywords: Mapping[str, Any]) -> None:
    from astropy.io import fits

    height, width = pixels.shape
    header = fits.Header()
    header.update(SIMPLE=True, BITPIX=-32, NAXIS=2, NAXIS1=width, NAXIS2=height)
    header.update(keywords)
    stream = fits.StreamingHDU(str(path), header)
    try:
        for _, values in _row_blocks(pixels):
            stream.write(values)
    finally:
        stream.close()
