"""Sines and cosines that make up a PSF: what optics pass, in a window around a source."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from distax.imaging.psf import GaussianProfile

_FINEST = 4.3
"""Frequency in units of 1/σ beyond which optics pass nothing: less than 1e-4 of a Gaussian."""
_FREEDOM = 0.8
"""Share of the Gaussian's width. A Gaussian so narrow says how far at each frequency the PSF may
differ from the Gaussian, and `_EVERYWHERE` how far at any."""
_EVERYWHERE = 1e-3
_FARTHEST = 0.3
"""Departure from the Gaussian at the source, as a share of it: one standard deviation."""


@dataclass(frozen=True)
class Waves:
    """Products of a function over rows and one over columns: the constant, cosines and sines.

    Attributes:
      frequency: of the functions along an axis in radians per pixel.
      cosine: which of them are cosines; the others are sines.
      resolved: the products whose frequency the optics pass.
      oversampling, side: samples per pixel and along an axis.
    """

    frequency: Float[np.ndarray, " B"]
    cosine: Bool[np.ndarray, " B"]
    resolved: Bool[np.ndarray, "B B"]
    oversampling: int
    side: int

    @classmethod
    def for_window(cls, width: int, sigma: float) -> "Waves":
        """All that a window of some pixels can hold of a PSF that is nowhere narrower than σ."""
        oversampling = max(2, math.ceil(2 / sigma))
        side = oversampling * (width + 1) + 1
        first = 2 * math.pi * oversampling / side
        orders = np.arange(1, min(side // 2, math.ceil(_FINEST / sigma / first)) + 1)
        frequency = first * np.concatenate([[0], orders, orders])
        return cls(
            frequency=frequency,
            cosine=np.arange(len(frequency)) <= len(orders),
            resolved=np.add.outer(frequency**2, frequency**2) <= (_FINEST / sigma) ** 2,
            oversampling=oversampling,
            side=side,
        )

    @property
    def area(self) -> float:
        """Of a period in pixels: times the constant's amplitude it is the PSF's flux."""
        return (self.side / self.oversampling) ** 2

    @property
    def offsets(self) -> Float[np.ndarray, " side"]:
        """Of the samples from the source in pixels."""
        return (np.arange(self.side) - self.side // 2) / self.oversampling

    def at(self, offset: Float[np.ndarray, "..."]) -> Float[np.ndarray, "... B"]:
        """The functions along an axis."""
        angle = offset[..., None] * self.frequency
        return np.where(self.cosine, np.cos(angle), np.sin(angle))

    def slope(self, offset: Float[np.ndarray, "..."]) -> Float[np.ndarray, "... B"]:
        """Their derivatives by the offset."""
        angle = offset[..., None] * self.frequency
        return self.frequency * np.where(self.cosine, -np.sin(angle), np.cos(angle))

    def samples(self, amplitudes: Float[np.ndarray, "B B"]) -> Float[np.ndarray, "side side"]:
        """The PSF with some amplitudes."""
        functions = self.at(self.offsets)
        return functions @ amplitudes @ functions.T

    def spread(self, covariance: Float[np.ndarray, "resolved resolved"]) -> float:
        """Standard deviation of the samples, on average, given that of the resolved amplitudes."""
        # A wave's square is a half on average, the constant's one.
        mean_square = np.where(self.frequency > 0, 0.5, 1.0)
        share = np.outer(mean_square, mean_square)[self.resolved]
        return math.sqrt(float(np.sum(np.diag(covariance) * share)))

    def gaussian(self, row_sigma: float, column_sigma: float) -> Float[np.ndarray, "B B"]:
        """Amplitudes of a Gaussian PSF."""
        inverse = np.linalg.pinv(self.at(self.offsets))
        row, column = (
            inverse
            @ np.asarray(GaussianProfile(sigma).response(-self.offsets, np.zeros(1))[0, :, 0])
            for sigma in (row_sigma, column_sigma)
        )
        return np.outer(row, column)

    def precision(
        self, row_sigma: float, column_sigma: float
    ) -> Float[np.ndarray, "resolved resolved"]:
        """Inverse covariance of the resolved amplitudes about those of a Gaussian.

        It says two things: how fine the departure may be, by a narrower Gaussian's spectrum, and
        how far it may be at each sample, which falls exponentially away from the source.
        """
        sigmas = (row_sigma, column_sigma)
        row, column = (np.exp(-((_FREEDOM * s * self.frequency) ** 2) / 2) for s in sigmas)
        largest = (2 * self.oversampling / self.side) ** 2
        spectrum = largest * (np.outer(row, column) + _EVERYWHERE)
        scaled = np.hypot(*np.meshgrid(*(self.offsets / s for s in sigmas), indexing="ij"))
        farthest = _FARTHEST / (2 * math.pi * row_sigma * column_sigma) * np.exp(-scaled / 2)
        functions = self.at(self.offsets)
        down, across = np.nonzero(self.resolved)
        products = functions[:, None, down] * functions[None, :, across]
        weighted = (products / farthest[..., None] / self.oversampling).reshape(-1, len(down))
        return np.diag(spectrum[self.resolved] ** -2.0) + weighted.T @ weighted


@dataclass(frozen=True)
class About:
    """What is known of a PSF before: the amplitudes' mean, and the resolved ones' precision."""

    mean: Float[np.ndarray, "B B"]
    precision: Float[np.ndarray, "resolved resolved"]
