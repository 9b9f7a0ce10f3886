"""Noise around each pixel as the matched filter sees it: correlated noise, texture and clouds.

In white noise of known standard deviation the filter's output has unit variance. Smoothed,
resampled or compressed frames have correlated noise, and clouds or ground are texture: the output
then varies more. Light of sources only adds to it. So its spread is measured below its median.
"""

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float

from distax.frames.background import Background, equal_box, fill_unknown
from distax.frames.bands import Band, bands
from distax.frames.blobs import psf_line, signal_to_noise
from distax.imaging.psf import Sigma, per_axis

Counts = Float[np.ndarray, "rows width"]
Read = Callable[[Band], tuple[Counts, Counts, Bool[np.ndarray, "rows width"]]]
"""Reads a band: counts above the background, their noise, and True for clipped pixels."""

_TOLERANCE, _ERRORS = 0.03, 3.0
"""Noise counts as white if the filter's spread is at most the first plus the second in standard
errors above that of shuffled pixels. Smaller limits find texture in chance, and larger ones leave
correlations that double the number of false blobs."""
_SPREAD_ERRORS = 1.0, 3.0
"""Standard errors of the ratios of mean distances and of those between quantiles, for one
independent value; measured."""
_LEAST = 0.5
"""Least distance between the quantiles relative to the mean distance below the median that is used.
In a Gaussian it is 2.5."""
_BOX, _BOX_SIGMAS = 16, 8.0
"""Side of the boxes in which texture is measured: at least the first in pixels, and the second in
standard deviations of the PSF. Larger boxes mix sky and ground; smaller ones are left to chance."""
_INNER, _INNER_SIGMAS = 2, 4.0
"""Half the side of a ring's inner square: at least the first in pixels, and the second in standard
deviations of the PSF. A wider ring follows clouds less; a narrower one holds more of the target."""
_UNEVEN = 0.2
"""Spread of the logarithm of the boxes' values above which they count as different. Below, the
frame's own value is used, as the boxes' errors would make false blobs."""
_BRIGHT = 4.0
"""Standard deviations to which brighter pixels of a ring are dimmed."""
_QUIETEST = 0.01
"""Least spread of the filter's output in a box. Boxes of equal pixels have none."""
_BELOW = 0.1587, 0.0228
"""Shares of a Gaussian below minus one and minus two standard deviations."""
_TAIL, _BEYOND = 0.002, 1.5
"""Share of the pixels in the tail that is measured, and growth of its excess on the way to the
threshold. A smaller share lies nearer to the threshold and has larger errors."""


def correlation(
    found: Float[np.ndarray, " N"], white: Float[np.ndarray, " N"], sigma: Sigma
) -> float:
    """Measures the filter's spread relative to that of white noise; 1 if it is not above.

    Sources raise the median. So the distance between two low quantiles, which they change less,
    must be larger as well.

    Args:
      found: output of the matched filter.
      white: its output if the pixels change places at random.
      sigma: standard deviation of the PSF in pixels.
    """
    if not len(found):
        return 1.0
    middle, one, two = map(float, np.quantile(white, [0.5, *_BELOW]))
    own_one, own_two = map(float, np.quantile(found, _BELOW))
    usual = _below(white, middle)
    if usual <= 0:
        return 1.0
    ratio = _below(found, middle) / usual
    area = 2 * math.pi * math.prod(float(width) for width in per_axis(sigma))
    error, of_quantiles = math.sqrt(max(1.0, area) / len(found)) * np.array(_SPREAD_ERRORS)
    # Few photons leave no values between the two quantiles.
    lower = (own_one - own_two) / (one - two) if one - two > _LEAST * usual else np.inf
    significant = ratio > 1 + _TOLERANCE + _ERRORS * error
    return ratio if significant and lower > 1 + _TOLERANCE + of_quantiles / 2 else 1.0


def spread_below(values: Float[np.ndarray, " N"]) -> float:
    """Returns the distance of values from their median down to minus one standard deviation.

    It is 0 without values.
    """
    if not len(values):
        return 0.0
    median, low = np.quantile(values, [0.5, _BELOW[0]])
    return float(median - low)


def _below(values: Float[np.ndarray, " N"], top: float) -> float:
    """Returns the mean distance of values below a value."""
    return float(np.mean(np.maximum(top - values, 0.0)))


def longer_tail(filtered: Float[np.ndarray, " N"]) -> float:
    """Returns the spread of the filter's output in its tail, if it is more than 1.

    The tail below zero is measured, as sources have none there. It is that of a Gaussian which is
    wider by the returned factor. Resampled and compressed frames have patches of more and of less
    noise, whose tail is longer than that of any one Gaussian.

    Args:
      filtered: output of the matched filter in standard deviations.
    """
    from scipy.stats import norm

    lowest = float(np.quantile(filtered, _TAIL))
    return 1.0 + _BEYOND * max(0.0, lowest / float(norm.ppf(_TAIL)) - 1.0)


def ring_level(
    counts: Float[np.ndarray, "rows width"], sigma: Sigma
) -> Float[np.ndarray, "rows width"]:
    """Returns the mean of the known pixels in a square ring around each pixel; 0 without any.

    Args:
      counts: counts, NaN where a pixel is not known.
      sigma: standard deviation of the PSF, which sets the size of the ring.
    """
    from scipy.ndimage import uniform_filter

    known = np.isfinite(counts)
    sums = []
    for image in (np.where(known, counts, 0.0).astype(np.float64), known.astype(np.float64)):
        inner, outer = (
            uniform_filter(image, 2 * half + 1, mode="constant") * (2 * half + 1) ** 2
            for half in ring_of(sigma)
        )
        sums.append(outer - inner)
    total, number = sums
    level: np.ndarray = np.where(number > 0.5, total / np.maximum(number, 0.5), 0.0)
    return level.astype(np.float32)


def ring_of(sigma: Sigma) -> tuple[int, int]:
    """Returns the pixels from the middle to the inner and to the outer edge of a ring."""
    widest = max(float(width) for width in per_axis(sigma))
    inner = max(_INNER, math.ceil(_INNER_SIGMAS * widest))
    return inner, 2 * inner


def measure_surroundings(read: Read, shape: tuple[int, int], sigma: Sigma) -> Background | None:
    """Measures the spread of the matched filter's output in small boxes, above the ring's level.

    Args:
      read: reads a band.
      shape: height and width of the frame in pixels.
      sigma: standard deviation of the PSF in pixels.

    Returns:
      The spread of the boxes as `noise`, below 1 where a small box is quieter than the large one
      around it; None if the boxes agree with each other.
    """
    widest = max(float(width) for width in per_axis(sigma))
    side = max(_BOX, round(_BOX_SIGMAS * widest))
    box = (equal_box(shape[0], side), equal_box(shape[1], side))
    margin = len(psf_line(widest)) // 2 + ring_of(sigma)[1]
    rows = []
    for band in bands(shape, box[0], margin):
        counts, noise, _ = read(band)
        # Else a bright target would darken the pixels around it.
        level = ring_level(np.minimum(counts, _BRIGHT * noise), sigma)
        filtered = signal_to_noise(counts - level, noise, sigma)
        filtered = np.where(np.isfinite(counts), filtered, np.nan)
        own = slice(band.first - band.start, band.last - band.start)
        rows.append(_spread_of_boxes(filtered[own], box[1]))
    spread = fill_unknown(np.stack(rows))
    logarithm = np.log(np.maximum(spread, _QUIETEST))
    away = np.abs(logarithm - np.median(logarithm))
    if 1.4826 * np.median(away) < _UNEVEN:
        return None
    noise = np.maximum(np.maximum(spread, _smoothed(spread)), _QUIETEST)
    return Background(level=np.zeros_like(noise), noise=noise, box=box, shape=shape)


def _spread_of_boxes(rows: Float[np.ndarray, "rows width"], box: int) -> np.ndarray:
    """Returns the distance from each box's median down to minus one standard deviation."""
    number = -(-rows.shape[1] // box)
    padded = np.pad(rows, ((0, 0), (0, number * box - rows.shape[1])), constant_values=np.nan)
    boxes = padded.reshape(len(rows), number, box).swapaxes(0, 1).reshape(number, -1)
    few = np.sum(np.isfinite(boxes), axis=1) < boxes.shape[1] // 8
    boxes = np.where(few[:, None], 0.0, boxes)
    median, low = np.nanquantile(boxes, [0.5, _BELOW[0]], axis=1)
    return np.where(few, np.nan, median - low)


def _smoothed(boxes: Float[np.ndarray, "R C"]) -> Float[np.ndarray, "R C"]:
    from scipy.ndimage import median_filter

    return median_filter(boxes, 3, mode="nearest")
