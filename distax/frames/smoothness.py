"""Frames that vary smoothly and have no noise: ramps, vignettes, fitted backgrounds."""

import numpy as np

from distax.frames.bands import Band, read_rows
from distax.io.pixels import Pixels

_SMOOTH = 2e-3
"""Largest mixed difference of neighbours in a smooth frame, relative to the spread of its pixels.
That of noise is 1, smoothed by σ pixels about 1 / (4 σ²), and that of a ramp 0."""
_SHARE = 0.9
"""Share of the pixels that have at most this difference. The others may belong to stars."""
_PLANE, _VARIES = 0.97, 3.0
"""Share of the pixels of whole numbers that lie in planes, and spread in counts of all pixels, from
which such a frame is a ramp. A quiet frame has most pixels equal."""
_PIXELS = 2**20
"""Number of pixels that are looked at."""


def is_smooth(pixels: Pixels, spread: float, whole: bool) -> bool:
    """Returns True if neighbouring pixels differ by planes, so that the frame shows no noise.

    Args:
      pixels: the frame; its middle rows are looked at.
      spread: standard deviation of the pixels about the background's map in counts.
      whole: True if all pixels are whole numbers.
    """
    height, width = pixels.shape
    rows = min(height, max(2, _PIXELS // width))
    first = (height - rows) // 2
    part = read_rows(pixels, Band(first=first, last=first + rows, start=first, stop=first + rows))
    mixed = np.abs(np.diff(np.diff(part, axis=0), axis=1))
    known = mixed[np.isfinite(mixed)]
    if not known.size:
        return False
    if whole:
        low, high = np.nanquantile(part, [0.16, 0.84])
        return bool(np.mean(known == 0) >= _PLANE and high - low > 2 * _VARIES)
    # Half of it, as it is the sum of four independent numbers in white noise.
    return bool(np.quantile(known, _SHARE) / 2 <= _SMOOTH * spread)
