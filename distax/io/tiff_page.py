"""Checks of a TIFF page before it is decoded."""

import math
from typing import TYPE_CHECKING

from distax.io.reading import Reading
from distax.io.source import Source
from distax.runtime.errors import DistaxError

if TYPE_CHECKING:
    from tifffile import TiffPage

_COMPRESSIONS = {1, 5, 8, 32773, 32946, 34925, 34926, 50000}
"""Compressions that are read: none, LZW, deflate, PackBits, LZMA and Zstandard. All are exact, and
their decoders are given the size of the output."""
WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, PALETTE, _LINEAR_RAW = 0, 1, 2, 3, 34892
"""Photometric interpretations that are read."""
_FLOATS = 3
"""Sample format of floats."""
_DIFFERENCES, _FLOAT_DIFFERENCES = 2, 3
"""Predictors: differences of neighbours, and of the bytes of floats."""
_MISREAD_BITS = 24
"""Bits of integers whose bytes tifffile returns in the wrong order for big-endian files."""


def check_page(page: "TiffPage", source: Source, where: str, reading: Reading) -> None:
    """Checks a page before memory is allocated for it.

    Args:
      page: the page.
      source: the file's bytes.
      where: the file and the page, for error messages.
      reading: limits of sizes.

    Raises:
      DistaxError: the page is not an image of real numbers, has a compression or colours that are
        not read, has a predictor that does not suit its values, lacks a strip or tile, or describes
        more pixels than the file holds.
    """
    _check_values(page, where)
    _check_sizes(page, source, where, reading)


def _check_values(page: "TiffPage", where: str) -> None:
    """Raises DistaxError for values that are not read: their compression, colours or type."""
    if page.compression not in _COMPRESSIONS:
        raise DistaxError(
            f"{where}: is compressed by {_name(page.compression)}, which is not read; save it with "
            "LZW, deflate or no compression"
        )
    readable = {WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, PALETTE, _LINEAR_RAW}
    plain = page.compression == 1 and page.predictor in (_DIFFERENCES, _FLOAT_DIFFERENCES)
    if plain or (page.predictor == _FLOAT_DIFFERENCES and page.sampleformat != _FLOATS):
        values = "values without compression" if plain else "integers"
        raise DistaxError(
            f"{where}: says that {values} are differences by predictor {int(page.predictor)}, "
            "which other programs read in another way; save it without a predictor"
        )
    if page.photometric not in readable:
        raise DistaxError(
            f"{where}: its colours are {_name(page.photometric)}, which is not read; save it in "
            "gray"
        )
    if page.dtype is None or page.dtype.kind not in "uifb" or page.dtype.itemsize > 8:
        kind = page.dtype or f"{page.bitspersample}-bit values of format {page.sampleformat}"
        raise DistaxError(f"{where}: holds {kind}, not counts; store integers or floats")
    if page.bitspersample == _MISREAD_BITS and page.parent.byteorder == ">":
        raise DistaxError(
            f"{where}: holds integers of {_MISREAD_BITS} bits in big-endian order, which is not "
            "read; store them with 32 bits"
        )


def _check_sizes(page: "TiffPage", source: Source, where: str, reading: Reading) -> None:
    """Raises DistaxError if strips or tiles are missing, or hold less than the pixels need."""
    if 0 in page.shaped or page.imagedepth != 1:
        raise DistaxError(f"{where}: has the shape {page.shape}; store each plane as a page")
    offsets, counts = page.dataoffsets, page.databytecounts
    if len(offsets) != len(counts) or len(offsets) != math.prod(page.chunked):
        raise DistaxError(
            f"{where}: has {len(offsets)} strips or tiles instead of {math.prod(page.chunked)}; "
            "the file is damaged"
        )
    parts = zip(offsets, counts, strict=True)
    if any(start <= 0 or size <= 0 or start + size > source.size for start, size in parts):
        raise DistaxError(
            f"{where}: its pixels lie beyond the end of the file, which is truncated or damaged"
        )
    assert page.dtype is not None  # or its values were refused
    stored, size = min(sum(counts), source.size), page.dtype.itemsize
    chunk = [min(side, max(page.shaped)) if not page.is_tiled else side for side in page.chunks]
    for promised in (math.prod(page.shaped), math.prod(chunk)):
        reading.check_size(where, promised * size, stored)
    bits = page.bitspersample if isinstance(page.bitspersample, int) else 8 * size
    if page.compression == 1 and math.prod(page.shaped) * bits > 8 * stored:
        raise DistaxError(
            f"{where}: stores {stored:,} bytes, too few for its {page.imagelength}×"
            f"{page.imagewidth} pixels; the file is truncated or damaged"
        )


def _name(value: object) -> str:
    """Returns the name of one of tifffile's constants, or its number."""
    return getattr(value, "name", str(value))
