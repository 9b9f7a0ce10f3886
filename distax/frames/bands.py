"""Bands of whole rows of a frame, so that memory does not grow with its height."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from distax.imaging.checks import as_counts
from distax.io.pixels import Pixels

LARGEST = 1e30
"""Largest magnitude of a known pixel. Larger ones mark bad pixels in some files, and 32 bits do not
hold their sums."""


@dataclass(frozen=True)
class Band:
    """Rows of a frame, with a margin of rows around them.

    Attributes:
      first, last: the band's own rows, `last` excluded.
      start, stop: the rows with their margin, `stop` excluded.
    """

    first: int
    last: int
    start: int
    stop: int


def bands(shape: tuple[int, int], rows: int, margin: int) -> Iterator[Band]:
    """Divides a frame into bands.

    Args:
      shape: height and width of the frame in pixels.
      rows: rows of a band; the last one may have fewer.
      margin: further rows on both sides, as far as the frame has them.
    """
    height = shape[0]
    for first in range(0, height, rows):
        last = min(first + rows, height)
        yield Band(
            first=first,
            last=last,
            start=max(first - margin, 0),
            stop=min(last + margin, height),
        )


def read_rows(pixels: Pixels, band: Band) -> Float[np.ndarray, "rows width"]:
    """Reads a band and its margin as float64, with NaN for infinite, huge and masked pixels."""
    return known_values(stored_rows(pixels, band))


def stored_rows(pixels: Pixels, band: Band) -> Float[np.ndarray, "rows width"]:
    """Reads a band and its margin as float64, with NaN for masked pixels."""
    return as_counts(pixels[band.start : band.stop], "frame", wide=True).astype(np.float64)


def known_values(rows: Float[np.ndarray, "rows width"]) -> Float[np.ndarray, "rows width"]:
    """Replaces infinite and huge values by NaN."""
    return np.where(np.abs(rows) <= LARGEST, rows, np.nan)
