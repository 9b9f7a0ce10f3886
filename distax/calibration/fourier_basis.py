"""Fourier basis of a measured PSF, and the prior of its amplitudes.

The PSF, as the share of the flux in a pixel whose centre lies at some offset from the source, is a
sum of products of a cosine or sine over rows and one over columns. Optics pass no frequency beyond
a limit. So a finite number of products represents any PSF in a window, without interpolation.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from distax.imaging.psf import GaussianProfile

_MAX_FREQUENCY = 4.3
"""Highest frequency of the basis in units of 1/σ. The spectrum of a Gaussian falls there to
exp(−4.3²/2) = 1e-4. A lower limit blurs PSFs with a sharp core; a higher one adds amplitudes, whose
number grows with its square, that only fit noise."""
_PRIOR_WIDTH = 0.8
"""Width of a narrower Gaussian relative to the fitted one. Its spectrum scales the prior's standard
deviation at each frequency. A smaller value lets the PSF be sharper, and noisier."""
_PRIOR_FLOOR = 1e-3
"""Addition to this spectrum at every frequency, relative to its maximum, so that bright sources can
show fine structure that no Gaussian has."""
_PRIOR_DEPARTURE = 0.3
"""Standard deviation of the departure from the Gaussian at the source, as a share of the Gaussian's
peak. A larger one adapts to odd shapes with fewer sources; a smaller one suppresses noise."""


@dataclass(frozen=True)
class PsfPrior:
    """Gaussian prior of a PSF's amplitudes.

    Attributes:
      mean: mean of all amplitudes.
      precision: inverse covariance of the resolved amplitudes.
    """

    mean: Float[np.ndarray, "B B"]
    precision: Float[np.ndarray, "resolved resolved"]


@dataclass(frozen=True)
class FourierBasis:
    """Products of a function over rows and one over columns; each is a constant, cosine or sine.

    Attributes:
      frequency: frequencies of the functions along an axis in radians per pixel.
      cosine: True for cosines and the constant, False for sines.
      resolved: True for products whose frequency the optics pass.
      oversampling: samples per pixel of a sampled PSF.
      side: number of its samples along an axis, odd; the period of the basis.
    """

    frequency: Float[np.ndarray, " B"]
    cosine: Bool[np.ndarray, " B"]
    resolved: Bool[np.ndarray, "B B"]
    oversampling: int
    side: int

    @classmethod
    def for_window(cls, width: int, sigma: float) -> "FourierBasis":
        """Builds the basis of a window.

        The period is one pixel longer than the window, as a source lies up to half a pixel from its
        centre.

        Args:
          width: width of the window in pixels.
          sigma: smaller standard deviation in pixels of the Gaussian closest to the PSF.
        """
        oversampling = max(2, math.ceil(2 / sigma))
        side = oversampling * (width + 1) + 1
        fundamental = 2 * math.pi * oversampling / side
        highest = min(side // 2, math.ceil(_MAX_FREQUENCY / sigma / fundamental))
        orders = np.arange(1, highest + 1)
        frequency = fundamental * np.concatenate([[0], orders, orders])
        return cls(
            frequency=frequency,
            cosine=np.arange(len(frequency)) <= len(orders),
            resolved=np.add.outer(frequency**2, frequency**2) <= (_MAX_FREQUENCY / sigma) ** 2,
            oversampling=oversampling,
            side=side,
        )

    @property
    def area(self) -> float:
        """Area of a period in pixels². The PSF's flux is this times the constant's amplitude."""
        return (self.side / self.oversampling) ** 2

    @property
    def offsets(self) -> Float[np.ndarray, " side"]:
        """Offsets in pixels of the samples from the source along an axis."""
        return (np.arange(self.side) - self.side // 2) / self.oversampling

    def values(self, offset: Float[np.ndarray, "..."]) -> Float[np.ndarray, "... B"]:
        """Returns the functions along an axis at offsets in pixels."""
        angle = offset[..., None] * self.frequency
        return np.where(self.cosine, np.cos(angle), np.sin(angle))

    def derivatives(self, offset: Float[np.ndarray, "..."]) -> Float[np.ndarray, "... B"]:
        """Returns the functions' derivatives by the offset."""
        angle = offset[..., None] * self.frequency
        return self.frequency * np.where(self.cosine, -np.sin(angle), np.cos(angle))

    def sample(self, amplitudes: Float[np.ndarray, "B B"]) -> Float[np.ndarray, "side side"]:
        """Samples the PSF with these amplitudes."""
        values = self.values(self.offsets)
        return values @ amplitudes @ values.T

    def sample_std(self, covariance: Float[np.ndarray, "resolved resolved"]) -> float:
        """Returns the root-mean-square standard deviation of the samples.

        Args:
          covariance: covariance of the resolved amplitudes.
        """
        # Over a period the mean square of a cosine or sine is 1/2, that of the constant 1.
        mean_square = np.where(self.frequency > 0, 0.5, 1.0)
        share = np.outer(mean_square, mean_square)[self.resolved]
        return math.sqrt(float(np.sum(np.diag(covariance) * share)))

    def gaussian(self, row_sigma: float, column_sigma: float) -> Float[np.ndarray, "B B"]:
        """Returns the amplitudes of a Gaussian PSF, by least squares over the samples."""
        inverse = np.linalg.pinv(self.values(self.offsets))
        row, column = (
            inverse
            @ np.asarray(GaussianProfile(sigma).response(-self.offsets, np.zeros(1))[0, :, 0])
            for sigma in (row_sigma, column_sigma)
        )
        return np.outer(row, column)

    def prior(self, row_sigma: float, column_sigma: float) -> PsfPrior:
        """Returns the Gaussian prior of the amplitudes, centred on a Gaussian PSF.

        The precision is the sum of two parts. The first limits how fine the departure from the
        Gaussian is: the standard deviation of an amplitude follows the spectrum of a narrower
        Gaussian. The second limits how large it is at each sample: its standard deviation falls
        exponentially with the distance from the source. Without the second, noise would raise the
        wings, where few photons contradict them.
        """
        sigmas = (row_sigma, column_sigma)
        row, column = (np.exp(-((_PRIOR_WIDTH * s * self.frequency) ** 2) / 2) for s in sigmas)
        # Largest amplitude that a narrow peak of unit flux has: 2 / period along each axis.
        largest = (2 * self.oversampling / self.side) ** 2
        spectrum = largest * (np.outer(row, column) + _PRIOR_FLOOR)
        distance = np.hypot(*np.meshgrid(*(self.offsets / s for s in sigmas), indexing="ij"))
        at_source = _PRIOR_DEPARTURE / (2 * math.pi * row_sigma * column_sigma)
        departure = at_source * np.exp(-distance / 2)
        values = self.values(self.offsets)
        row_index, column_index = np.nonzero(self.resolved)
        products = values[:, None, row_index] * values[None, :, column_index]
        # Oversampled samples are not independent: each counts as the area that it stands for.
        weighted = (products / departure[..., None] / self.oversampling).reshape(-1, len(row_index))
        return PsfPrior(
            mean=self.gaussian(row_sigma, column_sigma),
            precision=np.diag(spectrum[self.resolved] ** -2.0) + weighted.T @ weighted,
        )
