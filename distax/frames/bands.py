"""A frame in bands of whole rows, so that memory does not grow with its height."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from distax.io.pixels import Pixels


@dataclass(frozen=True)
class Band:
    """Rows of a frame, and those around them that are looked at as well.

    Attributes:
      first, last: the band's own rows, `last` not included.
      start, stop: the rows looked at, `stop` not included.
    """

    first: int
    last: int
    start: int
    stop: int


def bands(shape: tuple[int, int], rows: int, margin: int) -> Iterator[Band]:
    """Bands of `rows` rows from the first to the last, looked at with a margin on both sides."""
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
    """What a band and its margin hold, whatever the stored type; NaN where a value is no number."""
    rows = np.asarray(pixels[band.start : band.stop], np.float64)
    return np.where(np.isfinite(rows), rows, np.nan)
