"""Frames full of stars, whose light varies from place to place like texture but is none."""

import numpy as np
from jaxtyping import Float

from distax.frames.bands import Band
from distax.frames.sky import Sky
from distax.imaging.psf import Sigma, per_axis

_SIDE = 512
"""Largest side in pixels of the part of a frame that is looked at. A larger one takes longer."""
_CLIPPED = 0.999
"""Quantile at which the brightest pixels are clipped, so that a few stars do not stand for all. The
darkest are clipped at one minus it."""
_FAR, _FARTHEST = 5.0, 10.0
"""Range of distances, in standard deviations of the PSF, at which pixels hardly share light."""
_ALIKE = 0.1
"""Largest correlation of distant pixels relative to that of neighbours in a crowd. It is below 0.03
in simulated crowds, and 0.26 and more in clouds, sea and ground."""
_SHARE, _BRIGHT = 0.9, 2.0
"""A quantile, and a ratio of distances from the median. In a crowd, this quantile is at least so
many times farther from the median than its counterpart on the dark side. In noise, correlated or
not, both are equally far."""
_VARIES = 1.0
"""Least covariance of neighbouring pixels of a crowd in squared standard deviations of the noise.
With less the light is no more than the noise."""


def is_crowd(sky: Sky, sigma: Sigma) -> bool:
    """Returns True if a frame varies like a crowd of points: brightly, and at the PSF's scale only.

    The light of points anywhere is correlated as far as the PSF reaches (Poisson shot noise with
    the PSF's profile). Clouds, sea, ground and edges are correlated farther.

    Args:
      sky: the frame above its background.
      sigma: standard deviation of the PSF in pixels.
    """
    height, width = sky.shape
    first, left = max(0, (height - _SIDE) // 2), max(0, (width - _SIDE) // 2)
    last = min(height, first + _SIDE)
    counts, noise, _ = sky.read(Band(first=first, last=last, start=first, stop=last))
    part = (counts / noise)[:, left : left + _SIDE].astype(np.float64)
    known = np.isfinite(part)
    if not known.any():
        return False
    low, middle, high = np.quantile(part[known], [1 - _SHARE, 0.5, _SHARE])
    if high - middle < _BRIGHT * (middle - low):
        return False
    clipped = np.clip(part, *np.quantile(part[known], [1 - _CLIPPED, _CLIPPED]))
    correlation, distance = _correlation(np.where(known, clipped - clipped[known].mean(), 0.0))
    widest = max(float(one) for one in per_axis(sigma))
    near = correlation[(distance > 0) & (distance <= max(1.0, widest))].mean()
    far = correlation[(distance > _FAR * widest) & (distance <= _FARTHEST * widest)].mean()
    return bool(near > _VARIES and far < _ALIKE * near)


def _correlation(
    image: Float[np.ndarray, "height width"],
) -> tuple[Float[np.ndarray, "rows columns"], Float[np.ndarray, "rows columns"]]:
    """Returns the mean product of pixels by their distance along both axes, and the distance."""
    size = [2 * length for length in image.shape]

    def products(some: np.ndarray) -> np.ndarray:
        return np.fft.irfft2(np.abs(np.fft.rfft2(some, size)) ** 2, size)

    number = np.maximum(products(np.ones(image.shape)), 1.0)
    row, column = (np.minimum(np.arange(length), length - np.arange(length)) for length in size)
    return products(image) / number, np.hypot(row[:, None], column)
