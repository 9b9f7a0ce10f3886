"""Where a sensor's counts end, and whether it rounds them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from distax.imaging.sensor import Sensor

_DEPTHS = (8, 10, 12, 14, 16)
_MANY = 5
"""Pixels that share the largest count, and by how much they outnumber those of the counts below
it, where clipping is the likelier reason."""
_BELOW = 10
"""Counts below the largest that are looked at."""


@dataclass(frozen=True)
class Limits:
    """What the counts themselves tell.

    Attributes:
      bit_depth: bits of the digitiser; None for real numbers.
      saturation: counts at which pixels clip; None where none does.
    """

    bit_depth: int | None
    saturation: float | None

    @property
    def digital(self) -> bool:
        """Whether the sensor rounds, and so clips at zero."""
        return self.bit_depth is not None

    @property
    def white(self) -> float:
        """Counts from which a pixel reads as clipped, by what it holds or by the digitiser."""
        return Sensor(bit_depth=self.bit_depth, saturation=self.saturation).white


def find_limits(images: Float[np.ndarray, "N height width"]) -> Limits:
    """Rounding if all counts are integers from zero on, clipping if many share the largest one.

    The digitiser is taken to have as many bits as its clipping level says, else 8 or 16, or as
    many as the largest count needs.
    """
    counts = images[np.isfinite(images)]
    top = float(counts.max())
    digital = bool((counts == np.round(counts)).all() and counts.min() >= 0)
    near = np.sum((counts < top) & (counts >= top - _BELOW)) / _BELOW if digital else 0.0
    many = np.sum(counts == top) >= _MANY * max(near, 1.0)
    # The background, which most pixels have, is below what a sensor clips at.
    clipped = top if many and top > max(float(np.median(counts)), 0.0) else None
    if not digital:
        return Limits(bit_depth=None, saturation=clipped)
    known = (bits for bits in _DEPTHS if clipped == 2.0**bits - 1)
    enough = 8 if top < 256 else max(16, int(top).bit_length())
    return Limits(bit_depth=next(known, enough), saturation=clipped)
