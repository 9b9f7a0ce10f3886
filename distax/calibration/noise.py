"""Noise model of a sensor, and the limits of its counts.

A pixel that reads m counts above the dark level has the variance a + m / g. Here a is the variance
of read noise and rounding, and g the gain in electrons per count (photon transfer; Janesick, Photon
Transfer, SPIE 2007, chapter 5). The model is fitted to repeated frames of a scene, to dark frames,
or to the residuals of another fit. Clipping and rounding are recognised from the counts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from distax.imaging.sensor import HALF_STEP, ROUNDING_VARIANCE, Sensor
from distax.runtime.errors import DistaxError

_BIT_DEPTHS = (8, 10, 12, 14, 16)
"""Common digitisers, recognised by saturation at their largest count."""
_CLIPPED_RATIO = 5
"""If the pixels at the largest count are at least this many times those at a count just below it,
clipping is assumed. A smaller ratio takes a chance coincidence of bright pixels for saturation; a
larger one misses saturation where few sources clip."""
_COUNTS_BELOW = 10
"""The pixels at a count just below the largest are the mean over this many counts. More counts
smooth the mean, but reach into counts that are more frequent for other reasons."""
_UPPER_QUANTILE = 0.8
"""Quantile whose distance from the median gives the background's noise. A lower one fails where
half the pixels read zero, a higher one where sources fill part of the image."""
_UPPER_QUANTILE_SIGMAS = 0.8416
"""Distance of this quantile from the median of a Gaussian, in standard deviations."""
_MIN_NOISE_SHARE = 1e-6
"""Least noise of real numbers relative to their range: about the resolution of float32."""
_MIN_NOISE = float(np.finfo(np.float32).tiny)
"""Least noise in counts, so that images without any noise cause no division by zero."""
_MIN_VARIANCE = 1e-6
"""Least variance in counts² of the noise model: far below that of rounding, and large enough to
divide by its square."""
_SCORING_STEPS = 20
"""Steps of Fisher scoring. About ten give six digits, even from a start far away."""
_EM_STEPS = 300
"""Steps of expectation–maximisation, which converges slowly where most pixels read zero. They are
enough for 84% of zeros; at 95% the variance is still off by a tenth. More steps cost time, though
little, as each distinct count is handled once."""
_CUT_OFF_SHARE = 0.001
"""If more than this share of the dark pixels reads zero, the fit accounts for the cut-off. With
fewer zeros the cut-off makes the variance too small by less than a percent, and plain differences
of frames are more robust."""
_HOT_SIGMAS = 6.0
"""If a pixel is farther from the usual dark level than this many standard deviations, it counts as
hot or dead. A smaller limit cuts into the noise itself; a larger one lets hot pixels widen it."""
_SLOPE_SIGMAS = 4.0
"""If a slope is above this many of its standard deviations, it counts as shot noise. A smaller
limit turns chance slopes into a gain; a larger one misses the shot noise of dim images."""


@dataclass(frozen=True)
class Limits:
    """Rounding and clipping of a sensor.

    Attributes:
      bit_depth: bits of the digitiser; None for real numbers.
      saturation: counts at which pixels clip; None if no clipping was seen.
    """

    bit_depth: int | None
    saturation: float | None

    @property
    def digital(self) -> bool:
        """True if the sensor rounds to whole counts, and so clips at zero."""
        return self.bit_depth is not None

    @property
    def clip_level(self) -> float:
        """Counts from which a pixel is clipped by saturation or by the digitiser."""
        return Sensor(bit_depth=self.bit_depth, saturation=self.saturation).clip_level


def find_limits(images: Float[np.ndarray, "N height width"]) -> Limits:
    """Recognises rounding and clipping from the counts.

    Counts are rounded if all are whole and none is negative. They clip if many pixels share the
    largest count. If that count is the largest of a common digitiser, its bit depth is taken.
    Otherwise the bit depth is 8 if that suffices, or else 16, or as many as the largest count
    needs.
    """
    counts = images[np.isfinite(images)]
    top = float(counts.max())
    digital = bool((counts == np.round(counts)).all() and counts.min() >= 0)
    near = (
        np.sum((counts < top) & (counts >= top - _COUNTS_BELOW)) / _COUNTS_BELOW if digital else 0.0
    )
    shared = np.sum(counts == top) >= _CLIPPED_RATIO * max(near, 1.0)
    # Most pixels show the background, which lies below the saturation. Without this condition
    # images of one single count would seem to clip.
    saturation = top if shared and top > max(float(np.median(counts)), 0.0) else None
    if not digital:
        return Limits(bit_depth=None, saturation=saturation)
    matching = (bits for bits in _BIT_DEPTHS if saturation == 2.0**bits - 1)
    sufficient = 8 if top < 256 else max(16, int(top).bit_length())
    return Limits(bit_depth=next(matching, sufficient), saturation=saturation)


def estimate_background_noise(images: Float[np.ndarray, "N height width"], digital: bool) -> float:
    """Returns a rough standard deviation in counts of the images' background pixels.

    It is derived from the distance between two quantiles, as sources and zeros leave these alone.
    It is at least the rounding error of a digital sensor, or a millionth of the range of real
    numbers.
    """
    flat = images.reshape(len(images), -1)
    median, upper = np.nanquantile(flat, [0.5, _UPPER_QUANTILE], axis=1)
    extent = float(np.nanmax(images) - np.nanmin(images))
    least = ROUNDING_VARIANCE**0.5 if digital else _MIN_NOISE_SHARE * extent + _MIN_NOISE
    return max(float(np.median(upper - median)) / _UPPER_QUANTILE_SIGMAS, least)


@dataclass(frozen=True)
class NoiseModel:
    """Variance in counts² of a pixel, `intercept + slope · (level − dark_level)`.

    Attributes:
      intercept, intercept_std: variance in counts² at the dark level, rounding included, and its
        standard deviation.
      slope, slope_std: variance in counts² that each count of light adds, 1 / gain, and its
        standard deviation; zero if the slope is not significant.
      dark_level: counts of a pixel without light.
    """

    intercept: float
    intercept_std: float
    slope: float = 0.0
    slope_std: float = math.inf
    dark_level: float = 0.0

    def variance(self, level: np.ndarray) -> np.ndarray:
        """Returns the variance in counts² of pixels that expect a level in counts."""
        linear = self.intercept + self.slope * np.maximum(level - self.dark_level, 0.0)
        return np.maximum(linear, _MIN_VARIANCE)


def fit_noise_model(
    level: Float[np.ndarray, " N"],
    squares: Float[np.ndarray, " N"],
    dof: Float[np.ndarray, " N"],
    dark_noise: NoiseModel | None = None,
) -> NoiseModel:
    """Fits the noise model to sums of squares by maximum likelihood.

    A sum of squares with d degrees of freedom is the variance times χ² of d degrees. So its log
    likelihood is −(d log v + s / v) / 2, with v the modelled variance. Where s is a squared
    residual, d is the share of a pixel's freedom that the fitted parameters leave. This is
    restricted maximum likelihood (Patterson & Thompson, Biometrika 58, 1971): it removes the bias
    that the fitted parameters would otherwise cause.

    Args:
      level: expected counts.
      squares: sums of squared deviations in counts².
      dof: their degrees of freedom.
      dark_noise: model from dark frames, whose intercept and dark level are then kept. Default: fit
        the intercept, too.
    """
    constant = float(np.sum(squares) / np.sum(dof))
    fixed = constant if dark_noise is None else dark_noise.intercept
    dark_level = 0.0 if dark_noise is None else dark_noise.dark_level
    rows = np.stack([np.ones_like(level), level - dark_level])
    free = [0, 1] if dark_noise is None else [1]
    line = np.array([fixed, 0.0])
    for _ in range(_SCORING_STEPS):
        # Fisher scoring: least squares of s / d with the weights d / v², v of the last step.
        weight = 1 / np.maximum(line @ rows, _MIN_VARIANCE) ** 2
        matrix = ((rows * weight * dof) @ rows.T)[np.ix_(free, free)]
        known = np.delete(line, free) @ np.delete(rows, free, axis=0)
        vector = ((rows * weight) @ (squares - dof * known))[free]
        line[free] = np.linalg.lstsq(matrix, vector)[0]
    # The Fisher information of v is d / (2 v²): half the matrix.
    information = np.diag(_invert_or_inf(matrix))
    # Rounding makes the inverse of a singular matrix negative: then nothing is known.
    std = np.sqrt(2 * np.where(information > 0, information, math.inf))
    if not line[1] > _SLOPE_SIGMAS * std[-1]:
        constant_std = constant * math.sqrt(2 / np.sum(dof))
        return dark_noise or NoiseModel(constant, constant_std, slope_std=float(std[-1]))
    intercept_std = dark_noise.intercept_std if dark_noise else float(std[0])
    return NoiseModel(float(line[0]), intercept_std, float(line[1]), float(std[-1]), dark_level)


def _invert_or_inf(matrix: np.ndarray) -> np.ndarray:
    try:
        return np.linalg.inv(matrix)
    except np.linalg.LinAlgError:
        return np.full_like(matrix, math.inf)


def fit_photon_transfer(
    flats: Sequence[Float[np.ndarray, "N height width"]],
    clip_level: float,
    digital: bool,
    dark_noise: NoiseModel | None = None,
) -> NoiseModel:
    """Fits the noise model to flat frames (photon transfer).

    The variance of a pixel comes from differences of successive frames, so that a slow drift of
    the light does not add to it.

    Args:
      flats: arrays of repeated frames, each of an evenly lit surface at one level or of any other
        unchanged scene.
      clip_level: counts at which pixels clip; pixels that clip in any frame are left out.
      digital: True if pixels clip at zero, too.
      dark_noise: model from dark frames. Default: fit the intercept, too.

    Raises:
      DistaxError: fewer than two frames of a scene, every pixel clips in some frame, or all frames
        of each scene are equal.
    """
    parts = [_pixel_variances(frames, clip_level, digital) for frames in flats]
    level, squares, dof = (np.concatenate(part) for part in zip(*parts, strict=True))
    if not len(level):
        raise DistaxError("every pixel of the repeated frames clips at times; give darker ones")
    if not squares.any():
        raise DistaxError(
            "flats: the frames of each scene are equal, so they show no noise; give frames as the "
            "sensor delivers them, not copies or means of them"
        )
    return fit_noise_model(level, squares, dof, dark_noise)


def _pixel_variances(
    frames: Float[np.ndarray, "N height width"], clip_level: float, digital: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns level, sum of squares and degrees of freedom of each pixel that never clips."""
    kept = np.isfinite(frames).all(axis=0) & (frames < clip_level).all(axis=0)
    if digital:
        kept &= (frames > 0).all(axis=0)
    counts = frames[:, kept].astype(float)
    variance, dof = _difference_variance(counts)
    return counts.mean(axis=0), dof * variance, np.full(counts.shape[1], dof)


def _difference_variance(
    counts: Float[np.ndarray, "N pixels"],
) -> tuple[Float[np.ndarray, " pixels"], float]:
    """Returns each pixel's variance from successive differences, and its degrees of freedom.

    Half the mean square of N − 1 successive differences has the variance of χ² with
    2(N − 1)² / (3N − 4) degrees of freedom (von Neumann et al., Ann. Math. Statist. 12, 1941).
    """
    number = len(counts)
    if number < 2:
        raise DistaxError(
            "noise cannot be separated from the scene in a single frame; give at least two frames "
            "of the same scene in each file"
        )
    variance = np.mean(np.diff(counts, axis=0) ** 2, axis=0) / 2
    return variance, 2 * (number - 1) ** 2 / (3 * number - 4)


def measure_dark_noise(
    frames: Float[np.ndarray, "N height width"], digital: bool
) -> tuple[NoiseModel, str]:
    """Measures level and variance of frames without light.

    If many pixels read zero, the method is expectation–maximisation, and the dark level is taken as
    zero. Otherwise the method is the spread over the pixels of a single frame, or differences of
    successive frames.

    Args:
      frames: dark frames; NaN marks pixels to leave out.
      digital: True if pixels clip at zero.

    Returns:
      A noise model without slope, and the name of the method.

    Raises:
      DistaxError: no pixel is known in all frames, or real-valued frames show no noise.
    """
    counts = frames[:, _select_dark_pixels(frames, digital)].astype(float)
    if digital and np.mean(counts <= 0) > _CUT_OFF_SHARE:
        return _fit_cut_off_noise(counts.ravel()), "dark frames, cut off at zero"
    if len(frames) == 1:
        # The variance of equal numbers may differ from zero by rounding.
        variance = float(counts.var()) if np.ptp(counts) else 0.0
        dof = float(counts.size)
        source = "one dark frame, fixed pattern included"
    else:
        each, dof_each = _difference_variance(counts)
        variance, dof = float(each.mean()), dof_each * len(each)
        source = "dark frames"
    # The noise of a digital sensor may be too weak to change a count.
    if not (variance or digital):
        raise DistaxError(
            "dark: all frames are equal, so they show no noise; give frames as the sensor delivers "
            "them, not copies or means of them"
        )
    std = variance * math.sqrt(2 / dof)
    return NoiseModel(variance, std, dark_level=float(counts.mean())), source


def _select_dark_pixels(
    frames: Float[np.ndarray, "N height width"], digital: bool
) -> Bool[np.ndarray, "height width"]:
    """Selects pixels that are known in all frames and neither hot nor dead."""
    known = np.isfinite(frames).all(axis=0)
    if not known.any():
        raise DistaxError(
            "no pixel of the dark frames is known in all of them: each is NaN or infinite in some"
        )
    pixel = np.median(frames, axis=0)
    # Where most pixels read the same count, rounding hides up to one count more.
    allowed = _HOT_SIGMAS * estimate_background_noise(frames, digital) + (1.0 if digital else 0.0)
    return known & (np.abs(pixel - np.median(pixel[known])) <= allowed)


def _fit_cut_off_noise(counts: Float[np.ndarray, " N"]) -> NoiseModel:
    """Fits Gaussian noise that was rounded and cut off at zero, by expectation–maximisation.

    Each count gives two edges between which the noise was before rounding; a zero has no lower
    edge. The expectation step computes the mean and the mean square of the noise between these
    edges; the maximisation step takes the next mean and variance from them (Dempster, Laird &
    Rubin, J. R. Statist. Soc. B 39, 1977, section 4.2).
    """
    values, number = np.unique(counts, return_counts=True)
    if len(values) < 2:
        return NoiseModel(ROUNDING_VARIANCE, 0.0)
    low, high = np.where(values <= 0, -np.inf, values - HALF_STEP), values + HALF_STEP
    mean, variance = float(counts.mean()), float(np.mean(counts**2))
    for _ in range(_EM_STEPS):
        first, second = _truncated_moments(low, high, mean, math.sqrt(variance))
        mean = float(number @ first) / counts.size
        variance = float(number @ second) / counts.size - mean**2
    # Zeros hardly constrain the variance, so only the others count as degrees of freedom.
    seen = np.sum(counts > 0)
    return NoiseModel(variance + ROUNDING_VARIANCE, variance * math.sqrt(2 / seen))


def _truncated_moments(
    low: Float[np.ndarray, " N"], high: Float[np.ndarray, " N"], mean: float, std: float
) -> tuple[Float[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """Returns mean and mean square of a Gaussian between two edges; the lower may be infinite.

    Probabilities are kept as logarithms, as pixels with some light lie far out in the tail.
    """
    from scipy.special import log_ndtr

    a, b = (low - mean) / std, (high - mean) / std
    # Above the mean both probabilities round to one; mirroring the interval avoids that.
    more, less = np.where(a > 0, (-a, -b), (b, a))
    log_share = log_ndtr(more) + np.log1p(-np.exp(log_ndtr(less) - log_ndtr(more)))
    at_a, at_b = (np.exp(-(z**2) / 2 - log_share) / math.sqrt(2 * math.pi) for z in (a, b))
    shift = at_a - at_b
    bend = np.where(np.isinf(a), 0.0, a) * at_a - b * at_b
    return mean + std * shift, mean**2 + 2 * mean * std * shift + std**2 * (1 + bend)
