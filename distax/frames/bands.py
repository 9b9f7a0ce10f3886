"""Bands of whole rows of a frame, so that memory does not grow with its height."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from distax.imaging.checks import as_counts
from distax.io.pixels import Pixels


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
    """Reads a band and its margin as float64, with NaN for infinite and for masked pixels."""
    rows = as_counts(pixels[band.start : band.stop], "frame", wide=True).astype(np.float64)
    return np.where(np.isfinite(rows), rows, np.nan)
