"""Stars with flat tops, which show a saturation that nobody stated."""

import math

import numpy as np
from jaxtyping import Bool

from distax.frames.bands import bands, read_rows
from distax.frames.flat import Survey
from distax.io.pixels import Pixels

_ABOVE = 20.0
"""Least height of flat tops above the background in standard deviations of the noise. Lower ones
are made by noise of a few whole counts."""
_FEWEST, _TIMES, _NEAR = 5, 3.0, 0.05
"""A value is that of flat tops if at least the first number of pixels have it, and the second times
as many as lie below it by up to a count and the third share of its height above the background. The
round top of a wide star has as many pixels a little below it. Four may be equal by symmetry."""
_BITS = range(8, 33)
"""Bits of digitisers, whose largest values two neighbouring pixels hardly reach by chance. So few
pixels are enough, if no more lie a little below."""


_ROWS = 64
"""Rows that are read at a time."""


def clipping_line(
    pixels: Pixels, seen: Survey, level: float, noise: float, limit: float
) -> str | None:
    """Says at which value stars have flat tops, in one line; None if they have none.

    It is the largest value of the frame.

    Args:
      pixels: the frame, with NaN in flat areas.
      seen: the survey of the frame.
      level, noise: level and standard deviation of the background in counts.
      limit: value at which pixels are known to clip; infinite if it is not known.
    """
    top, height = seen.highest, seen.highest - level
    if seen.at_highest < 2 or top >= limit or height <= _ABOVE * noise:
        return None
    full = math.log2(top + 1) in _BITS if top > 0 else False
    number, near, joined = 0, 0, False
    # A row more on both sides shows tops that lie in two bands.
    for band in bands((pixels.shape[0], pixels.shape[1]), _ROWS, 1):
        rows = read_rows(pixels, band)
        joined = joined or _joined(rows == top, pair=full)
        own = rows[band.first - band.start :][: band.last - band.first]
        number += int(np.sum(own == top))
        near += int(np.sum((own < top) & (own >= top - 1 - _NEAR * height)))
    fewest = max(1, near) if full else max(_FEWEST, _TIMES * near)
    if not joined or number < fewest:
        return None
    return (
        f"{number} pixels read {top:.10g}, the largest value of the frame, and stars have flat "
        f"tops there: if the camera saturates at this value, give --frame.saturation {top:.10g}, "
        "or the saturation in a sensor file"
    )


def _joined(equal: Bool[np.ndarray, "rows width"], pair: bool) -> bool:
    """Returns True if a square of 2×2 pixels is equal, or a pair if that is enough."""
    across = equal[:, 1:] & equal[:, :-1]
    if pair:
        return bool(across.any() or (equal[1:] & equal[:-1]).any())
    return bool((across[1:] & across[:-1]).any())
