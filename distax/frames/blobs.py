"""Detection of blobs in a frame: significant peaks of the matched filter."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from distax.imaging.psf import Sigma, per_axis, pixel_response
from distax.runtime.errors import DistaxError

_LOWEST = 1.2
"""Lowest threshold as a signal-to-noise ratio. The number of false blobs is proportional to
t² Q(t), which falls with the threshold t only from 1.19 on. Below, two thresholds give the same
number."""
_LEAST_WEIGHT = 0.25
"""Share of the PSF's power that known pixels must hold for a pixel to be a peak. A smaller share
finds targets beside bad pixels; a larger one avoids peaks that depend on a single pixel."""


@dataclass(frozen=True)
class Blobs:
    """Significant peaks of a frame above its background, the most significant first.

    Attributes:
      pixel: `[B, 2]`, row and column of the matched filter's peak.
      signal_to_noise: `[B]`, signal-to-noise ratio of a point source there.
    """

    pixel: Int[np.ndarray, "B 2"]
    signal_to_noise: Float[np.ndarray, " B"]


def false_blobs(threshold: float, pixels: int, sigma: Sigma) -> float:
    """Returns the expected number of peaks of pure Gaussian white noise above a threshold.

    The matched filter's output is a Gaussian field of unit variance. Two limits are known.

    - A wide PSF gives a smooth field. With A = 1 / Σ PSF², the area of one PSF in pixels, and the
      Gaussian tail Q, the expected number at a high threshold t is `pixels` / A · t² Q(t). This is
      Rice's formula in two dimensions (expected Euler characteristic; Adler & Taylor, Random Fields
      and Geometry, 2007, section 11.7).
    - A narrow PSF gives nearly independent pixels, each above t with probability Q(t).

    The smaller number of the two is returned.

    Args:
      threshold: signal-to-noise ratio.
      pixels: number of pixels in the frame.
      sigma: standard deviation of the PSF in pixels.
    """
    from scipy.stats import norm

    per_pixel = min(1.0, _power(_psf_lines(sigma)) * threshold**2)
    return pixels * per_pixel * float(norm.sf(threshold))


def detection_threshold(expected: float, pixels: int, sigma: Sigma) -> float:
    """Returns the threshold at which `false_blobs` has an expected value, by root finding.

    Args:
      expected: expected number of false blobs.
      pixels: number of pixels in the frame.
      sigma: standard deviation of the PSF in pixels.

    Returns:
      The threshold as a signal-to-noise ratio.

    Raises:
      DistaxError: the number is not positive, or larger than at the lowest threshold.
    """
    from scipy.optimize import brentq

    most = false_blobs(_LOWEST, pixels, sigma)
    if not 0 < expected <= most:
        raise DistaxError(
            f"false_blobs must be positive and at most {most:.4g} in {pixels} pixels with this "
            f"PSF, got {expected}"
        )

    def excess(threshold: float) -> float:
        return math.log(max(false_blobs(threshold, pixels, sigma), 1e-300) / expected)

    return float(brentq(excess, _LOWEST, 35.0))


def psf_line(sigma: float) -> Float[np.ndarray, " width"]:
    """Returns the PSF along one axis, for a target at the centre of the middle pixel."""
    reach = math.ceil(4 * sigma)
    return np.asarray(_response(float(reach), 2 * reach + 1, sigma))


_response = jax.jit(pixel_response, static_argnums=1)


def _psf_lines(sigma: Sigma) -> list[np.ndarray]:
    """Returns the PSF over rows and over columns; the PSF is their outer product."""
    return [psf_line(float(width)) for width in per_axis(sigma)]


def _power(lines: Sequence[np.ndarray]) -> float:
    """Returns Σ PSF²."""
    return float(np.prod([np.sum(line**2) for line in lines]))


def signal_to_noise(
    counts: Float[np.ndarray, "height width"],
    noise: Float[np.ndarray, "height width"],
    sigma: Sigma,
) -> Float[np.ndarray, "height width"]:
    """Computes the significance of a point source at each pixel's centre, by the matched filter.

    Args:
      counts: counts above the background; NaN where a pixel is not known.
      noise: standard deviation in counts, positive.
      sigma: standard deviation of the PSF in pixels.

    Returns:
      Σ p d / n² / √(Σ p² / n²) over the known pixels, with the PSF p, the counts d and the noise n;
      0 where the known pixels hold too little of the PSF.
    """
    from scipy.ndimage import correlate1d

    lines = _psf_lines(sigma)
    # In units of the mean noise, as 1 / n² of the original counts may exceed float32's range.
    scale = np.mean(noise)
    counts, noise = counts / scale, noise / scale
    known = np.isfinite(counts)
    weight = np.where(known, 1.0 / noise**2, 0.0)

    def filtered(image: np.ndarray, lines: Sequence[np.ndarray]) -> np.ndarray:
        for axis, line in enumerate(lines):
            image = correlate1d(image, line, axis=axis, mode="constant")
        return image

    signal = filtered(weight * np.where(known, counts, 0.0), lines)
    power = filtered(weight, [line**2 for line in lines])
    enough = power * noise**2 > _LEAST_WEIGHT * _power(lines)
    return np.where(enough, signal / np.sqrt(np.where(enough, power, 1.0)), 0.0)


def peaks(
    significance: Float[np.ndarray, "height width"], threshold: float, reach: int
) -> Int[np.ndarray, "B 2"]:
    """Finds local maxima above a threshold.

    Equal neighbours, which saturation causes, count as one peak at their centre.

    Args:
      significance: map of the signal-to-noise ratio.
      threshold: least signal-to-noise ratio of a peak.
      reach: rows and columns around a peak in which no pixel may exceed it.

    Returns:
      Row and column of each peak.
    """
    from scipy.ndimage import center_of_mass, label, maximum_filter

    # photutils' `find_peaks` would report every pixel of a plateau, and so many blobs per clipped
    # star.
    highest = maximum_filter(significance, 2 * reach + 1, mode="constant")
    top: Bool[np.ndarray, "height width"] = (significance == highest) & (significance > threshold)
    plateaus, number = label(top, np.ones((3, 3)))
    centres = center_of_mass(top, plateaus, np.arange(1, number + 1))
    return np.rint(np.reshape(centres, (-1, 2))).astype(int)
