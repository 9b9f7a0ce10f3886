"""Blobs in a frame: peaks of the matched filter that noise hardly makes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from distax.imaging.psf import Sigma, per_axis, pixel_response
from distax.runtime.errors import DistaxError

_LOWEST = 1.2
"""Signal-to-noise ratio above which fewer and fewer blobs are false: t² Q(t) falls from 1.19 on."""
_LEAST_WEIGHT = 0.25
"""Share of the PSF's power that known pixels must hold for a place to be looked at."""


@dataclass(frozen=True)
class Blobs:
    """Where a frame holds more than its background, the most significant first.

    Attributes:
      pixel: `[B, 2]`, row and column of the matched filter's peak.
      signal_to_noise: `[B]`, of a point source there.
    """

    pixel: Int[np.ndarray, "B 2"]
    signal_to_noise: Float[np.ndarray, " B"]


def false_blobs(threshold: float, pixels: int, sigma: Sigma) -> float:
    """Expected number of peaks above a threshold that Gaussian white noise alone makes.

    The matched filter's output is a Gaussian field of unit variance. Where the PSF is wide its
    peaks are those of a smooth field: with A = 1 / Σ PSF² the pixels of one independent PSF area,
    Rice's formula in two dimensions (Adler & Taylor, Random Fields and Geometry, 2007, section
    11.7: expected Euler characteristic) gives `pixels` / A · t² Q(t) for high thresholds t, Q being
    the Gaussian tail. Where it is narrow the pixels are too few to resolve the field, and each
    lies above the threshold with probability Q(t). The smaller of the two is taken.

    Args:
      threshold: signal-to-noise ratio.
      pixels: number of pixels of the frame.
      sigma: standard deviation of the PSF in pixels.
    """
    from scipy.stats import norm

    per_pixel = min(1.0, _power(_psf_lines(sigma)) * threshold**2)
    return pixels * per_pixel * float(norm.sf(threshold))


def detection_threshold(expected: float, pixels: int, sigma: Sigma) -> float:
    """Signal-to-noise ratio at which `false_blobs` is the number expected.

    Raises:
      DistaxError: more are expected than the PSF leaves room for, or none at all.
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
    """Shares of a target's flux in the pixels of its row, the target at the middle one's centre."""
    reach = math.ceil(4 * sigma)
    return np.asarray(pixel_response(jnp.array(float(reach)), 2 * reach + 1, sigma))


def _psf_lines(sigma: Sigma) -> list[np.ndarray]:
    """The PSF along rows' axis and along columns'; it is their outer product."""
    return [psf_line(float(width)) for width in per_axis(sigma)]


def _power(lines: Sequence[np.ndarray]) -> float:
    """Σ PSF²."""
    return float(np.prod([np.sum(line**2) for line in lines]))


def signal_to_noise(
    counts: Float[np.ndarray, "height width"],
    noise: Float[np.ndarray, "height width"],
    sigma: Sigma,
) -> Float[np.ndarray, "height width"]:
    """The significance of a point source at each pixel's centre, by the matched filter.

    Args:
      counts: above the background; NaN where nothing is known.
      noise: standard deviation in counts, positive.
      sigma: standard deviation of the PSF in pixels.

    Returns:
      Σ p d / n² over √(Σ p² / n²), p being the PSF, d the counts and n the noise, over the known
      pixels; 0 where they hold too little of the PSF.
    """
    from scipy.ndimage import correlate1d

    lines = _psf_lines(sigma)
    # In units of the noise: a frame's own may be so small that float32 does not hold 1 / n².
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
    """Pixels above a threshold that no pixel within `reach` rows and columns exceeds.

    Equal neighbours, as saturation makes them, are one peak at their middle.
    """
    from scipy.ndimage import center_of_mass, label, maximum_filter

    highest = maximum_filter(significance, 2 * reach + 1, mode="constant")
    top: Bool[np.ndarray, "height width"] = (significance == highest) & (significance > threshold)
    plateaus, number = label(top, np.ones((3, 3)))
    centres = center_of_mass(top, plateaus, np.arange(1, number + 1))
    return np.rint(np.reshape(centres, (-1, 2))).astype(int)
