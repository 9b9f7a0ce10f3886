"""Conversion of stored FITS values to pixels: scale, offset, unsigned and missing values."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Num

from distax.io.fits_structure import Hdu
from distax.io.pixels import to_floats

_UNSIGNED = {16: 2**15, 32: 2**31, 64: 2**63}
"""Offsets by which unsigned integers are stored as signed ones, by their bits."""
_SIGNED_BYTE = -128
"""Offset by which signed bytes are stored as unsigned ones."""


@dataclass(frozen=True)
class Scaling:
    """Conversion of stored values: value = zero + scale × stored.

    Astropy's own conversion fails for signed bytes whose offset is written as a real number.

    Attributes:
      bits: bits of the stored values, negative for floats (BITPIX).
      scale, zero: scale and offset (BSCALE, BZERO).
      blank: stored integer that stands for a missing value (BLANK); None for none.
    """

    bits: int
    scale: float
    zero: float
    blank: int | None

    @classmethod
    def of(cls, hdu: Hdu) -> "Scaling":
        """Reads the conversion from an image's header.

        Raises:
          DistaxError: a keyword is not a number.
        """
        bits = hdu.whole("ZBITPIX" if hdu.is_compressed else "BITPIX")
        blank = hdu.whole("BLANK") if bits > 0 and "BLANK" in hdu.cards else None
        return cls(bits, hdu.real("BSCALE", 1.0), hdu.real("BZERO", 0.0), blank)

    def __call__(self, stored: Num[np.ndarray, "..."]) -> Num[np.ndarray, "..."]:
        """Converts values. The result is float64 unless scale and offset keep integers integers."""
        values = self._convert(stored)
        if self.blank is None:
            return values
        missing = stored == self.blank
        if not missing.any():
            return values
        return np.where(missing, np.nan, to_floats(values))

    def _convert(self, stored: np.ndarray) -> np.ndarray:
        if (self.scale, self.zero) == (1.0, 0.0):
            return stored
        if self.scale == 1.0 and self.bits == 8 and self.zero == _SIGNED_BYTE:
            return (stored ^ np.uint8(128)).view(np.int8)
        if self.scale == 1.0 and self.zero == _UNSIGNED.get(self.bits):
            unsigned = stored.astype(f"u{self.bits // 8}")
            return unsigned ^ unsigned.dtype.type(1 << (self.bits - 1))
        with np.errstate(over="ignore", invalid="ignore"):
            return stored.astype(np.float64) * self.scale + self.zero
