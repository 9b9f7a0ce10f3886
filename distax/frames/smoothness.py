"""Frames that vary smoothly and have no noise: ramps, vignettes, fitted backgrounds."""

import numpy as np
from jaxtyping import Float

from distax.frames.bands import Band, read_rows
from distax.io.pixels import Pixels

_SMOOTH = 2e-3
"""Largest mixed difference of neighbours in a smooth frame, relative to the spread of its pixels.
That of noise is 1, smoothed by σ pixels about 1 / (4 σ²), and that of a ramp 0."""
_SHARE = 0.9
"""Share of the pixels that have at most this difference. The others may belong to stars."""
_CURVED = 0.2
"""Largest mixed second difference in a smooth frame, relative to the mixed difference. That of
noise is 3, smoothed by σ pixels about 1.5 / σ², and that of a vignette hardly more than 0."""
_EXACT = 16 * 2.0**-23
"""Mixed difference relative to the largest pixel that is rounding in 32 bits, and no noise."""
_PLANE, _VARIES = 0.97, 3.0
"""Share of the pixels of whole numbers that lie in planes, and spread in counts of all pixels, from
which such a frame is a ramp. A quiet frame has most pixels equal."""
_PIXELS = 2**20
"""Number of pixels that are looked at."""


def is_smooth(pixels: Pixels, spread: float, whole: bool) -> bool:
    """Returns True if neighbouring pixels lie on a smooth surface, so that the frame has no noise.

    Args:
      pixels: the frame; its middle rows are looked at.
      spread: standard deviation of the pixels about the background's map in counts.
      whole: True if all pixels are whole numbers.
    """
    height, width = pixels.shape
    rows = min(height, max(2, _PIXELS // width))
    first = (height - rows) // 2
    part = read_rows(pixels, Band(first=first, last=first + rows, start=first, stop=first + rows))
    mixed = np.diff(np.diff(part, axis=0), axis=1)
    known = mixed[np.isfinite(mixed)]
    if not known.size:
        return False
    if whole:
        low, high = np.nanquantile(part, [0.16, 0.84])
        return bool(np.mean(known == 0) >= _PLANE and high - low > 2 * _VARIES)
    typical = _usual(mixed)
    # Half of it, as it is the sum of four independent numbers in white noise.
    if typical / 2 > _SMOOTH * spread:
        return False
    # A strong vignette has as small differences beside little noise.
    further = _usual(np.diff(np.diff(mixed, axis=0), axis=1))
    exact = _EXACT * float(np.nanmax(np.abs(part)))
    return typical <= exact or further <= _CURVED * typical


def _usual(differences: Float[np.ndarray, "R C"]) -> float:
    """Returns the size that the share `_SHARE` of known differences stays below; 0 without any."""
    known = np.abs(differences[np.isfinite(differences)])
    return float(np.quantile(known, _SHARE)) if known.size else 0.0
