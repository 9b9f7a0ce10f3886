"""Read noise and gain from how much pixels vary, and at which level (photon transfer).

The variance of a pixel that reads m counts above the dark level is a + m / g, with a of the read
noise and the rounding and g electrons per count (Janesick, Photon Transfer, SPIE 2007, chapter 5).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from distax.fitting.patch import ROUNDING_VARIANCE
from distax.imaging.sensor import HALF_STEP, Sensor
from distax.runtime.errors import DistaxError

_ABOVE = 0.8
"""The quantile whose distance from the median tells the noise, even where half the pixels read
zero or some hold a source."""
_ABOVE_SIGMAS = 0.8416
_LEAST_SHARE = 1e-6
_TINY = float(np.finfo(np.float32).tiny)
"""Of counts without noise, so that nothing is divided by zero."""
_DEPTHS = (8, 10, 12, 14, 16)
_MANY = 5
"""Pixels that share the largest count, and by how much they outnumber those of the counts below
it, where clipping is the likelier reason."""
_BELOW = 10
"""Counts below the largest that are looked at."""
_ROUNDS = 20
_EM_ROUNDS = 300
_LEAST_VARIANCE = 1e-6
_CUT_OFF = 0.001
"""Share of pixels reading zero above which dark frames no longer show all their noise."""
_HOT = 6.0
"""Standard deviations from most dark pixels' level beyond which a pixel has one of its own."""
_SIGNIFICANT = 4.0
"""Standard deviations from zero at which a slope counts as shot noise."""


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


def noise_level(images: Float[np.ndarray, "N height width"], digital: bool) -> float:
    """Standard deviation in counts of the images' pixels without light, roughly.

    Of a sensor that rounds it is that of the rounding at least; real numbers are told from one
    another to a millionth of their range.
    """
    flat = images.reshape(len(images), -1)
    middle, above = np.nanquantile(flat, [0.5, _ABOVE], axis=1)
    extent = float(np.nanmax(images) - np.nanmin(images))
    least = ROUNDING_VARIANCE**0.5 if digital else _LEAST_SHARE * extent + _TINY
    return max(float(np.median(above - middle)) / _ABOVE_SIGMAS, least)


@dataclass(frozen=True)
class Line:
    """Variance in counts² of a pixel by its level: `at_zero + per_count · (level − dark)`.

    Attributes:
      at_zero, at_zero_std: without light, rounding included, and its standard deviation.
      per_count, per_count_std: what each count adds; zero where it may as well be chance.
      dark: the level in counts without light.
    """

    at_zero: float
    at_zero_std: float
    per_count: float = 0.0
    per_count_std: float = math.inf
    dark: float = 0.0

    def variance(self, level: np.ndarray) -> np.ndarray:
        """Of pixels at a level in counts."""
        line = self.at_zero + self.per_count * np.maximum(level - self.dark, 0.0)
        return np.maximum(line, _LEAST_VARIANCE)


def fitted_line(
    level: Float[np.ndarray, " N"],
    squares: Float[np.ndarray, " N"],
    freedom: Float[np.ndarray, " N"],
    darkness: Line | None = None,
) -> Line:
    """The likeliest line through sums of squares (of residuals, or about a mean).

    A sum of squares is its variance times χ² of so many degrees of freedom; with those that a fit
    leaves in a residual this is restricted maximum likelihood.

    Args:
      level: counts.
      squares: sums of squares in counts².
      freedom: their degrees of freedom.
      darkness: what dark frames tell, which then stands.
    """
    constant = float(np.sum(squares) / np.sum(freedom))
    fixed = constant if darkness is None else darkness.at_zero
    dark = 0.0 if darkness is None else darkness.dark
    rows = np.stack([np.ones_like(level), level - dark])
    free = [0, 1] if darkness is None else [1]
    line = np.array([fixed, 0.0])
    for _ in range(_ROUNDS):
        weight = 1 / np.maximum(line @ rows, _LEAST_VARIANCE) ** 2
        matrix = ((rows * weight * freedom) @ rows.T)[np.ix_(free, free)]
        known = np.delete(line, free) @ np.delete(rows, free, axis=0)
        vector = ((rows * weight) @ (squares - freedom * known))[free]
        line[free] = np.linalg.lstsq(matrix, vector)[0]
    spread = np.sqrt(2 * np.diag(_inverse(matrix)))
    if not line[1] > _SIGNIFICANT * spread[-1]:
        std = constant * math.sqrt(2 / np.sum(freedom))
        return darkness or Line(constant, std, per_count_std=float(spread[-1]))
    at_zero_std = darkness.at_zero_std if darkness else float(spread[0])
    return Line(float(line[0]), at_zero_std, float(line[1]), float(spread[-1]), dark)


def _inverse(matrix: np.ndarray) -> np.ndarray:
    try:
        return np.linalg.inv(matrix)
    except np.linalg.LinAlgError:
        return np.full_like(matrix, math.inf)


def photon_transfer(
    scenes: Sequence[Float[np.ndarray, "N height width"]],
    white: float,
    digital: bool,
    darkness: Line | None = None,
) -> Line:
    """The line through all pixels of scenes that were each taken several times, unchanged.

    Differences of one frame and the next count, so that a slow drift does no harm.

    Args:
      scenes: frames of an evenly lit surface at one level, or of anything else that stays.
      white: counts at which pixels clip; pixels that ever do are left out.
      digital: whether pixels clip at zero, too.
      darkness: what dark frames tell.

    Raises:
      DistaxError: fewer than two frames of a scene, or no pixel that never clips.
    """
    parts = [_pixels(frames, white, digital) for frames in scenes]
    level, squares, freedom = (np.concatenate(part) for part in zip(*parts, strict=True))
    if not len(level):
        raise DistaxError("every pixel of the repeated frames clips at times; give darker ones")
    return fitted_line(level, squares, freedom, darkness)


def _pixels(
    frames: Float[np.ndarray, "N height width"], white: float, digital: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Level, sum of squares and degrees of freedom of each pixel that never clips."""
    kept = np.isfinite(frames).all(axis=0) & (frames < white).all(axis=0)
    if digital:
        kept &= (frames > 0).all(axis=0)
    counts = frames[:, kept].astype(float)
    variance, freedom = _variance(counts)
    return counts.mean(axis=0), freedom * variance, np.full(counts.shape[1], freedom)


def _variance(counts: Float[np.ndarray, "N pixels"]) -> tuple[Float[np.ndarray, " pixels"], float]:
    """Variance of each pixel from successive differences, and its degrees of freedom.

    Half the mean square of N − 1 successive differences has the variance of χ² with
    2(N − 1)² / (3N − 4) degrees of freedom (von Neumann et al., Ann. Math. Statist. 12, 1941).
    """
    number = len(counts)
    if number < 2:
        raise DistaxError(
            "one frame of a scene does not tell noise from the scene; give at least two frames of "
            "the same scene in each file"
        )
    variance = np.mean(np.diff(counts, axis=0) ** 2, axis=0) / 2
    return variance, 2 * (number - 1) ** 2 / (3 * number - 4)


def dark_noise(frames: Float[np.ndarray, "N height width"], digital: bool) -> tuple[Line, str]:
    """What frames without light tell: level and variance there, and how they were found."""
    counts = frames[:, _without_light(frames, digital)].astype(float)
    if digital and np.mean(counts <= 0) > _CUT_OFF:
        return _cut_off(counts.ravel()), "dark frames, cut off at zero"
    if len(frames) == 1:
        line = Line(float(counts.var()), float(counts.var()) * math.sqrt(2 / counts.size))
        return _at(line, counts), "one dark frame, its fixed pattern included"
    variance, freedom = _variance(counts)
    std = variance.mean() * math.sqrt(2 / (freedom * len(variance)))
    return _at(Line(float(variance.mean()), float(std)), counts), "dark frames"


def _without_light(
    frames: Float[np.ndarray, "N height width"], digital: bool
) -> Bool[np.ndarray, "height width"]:
    """Pixels that are always known and neither hot nor dead: near the level that most have."""
    known = np.isfinite(frames).all(axis=0)
    if not known.any():
        raise DistaxError("no pixel of the dark frames is always known: all are NaN or infinite")
    pixel = np.median(frames, axis=0)
    # Where most pixels read the same count, rounding hides up to one count more.
    usual = _HOT * noise_level(frames, digital) + (1.0 if digital else 0.0)
    return known & (np.abs(pixel - np.median(pixel[known])) <= usual)


def _at(line: Line, counts: np.ndarray) -> Line:
    return Line(line.at_zero, line.at_zero_std, dark=float(counts.mean()))


def _cut_off(counts: Float[np.ndarray, " N"]) -> Line:
    """Variance of Gaussian noise that was rounded, all that is negative to zero, by EM.

    Each count says between which edges the noise was; given those, what it is expected to be and
    its square make the next mean and variance (Dempster, Laird & Rubin 1977, section 4.2).
    """
    values, number = np.unique(counts, return_counts=True)
    if len(values) < 2:
        return Line(ROUNDING_VARIANCE, 0.0)
    low, high = np.where(values <= 0, -np.inf, values - HALF_STEP), values + HALF_STEP
    mean, variance = float(counts.mean()), float(np.mean(counts**2))
    for _ in range(_EM_ROUNDS):
        first, second = _moments(low, high, mean, math.sqrt(variance))
        mean = float(number @ first) / counts.size
        variance = float(number @ second) / counts.size - mean**2
    seen = np.sum(counts > 0)
    return Line(variance + ROUNDING_VARIANCE, variance * math.sqrt(2 / seen))


def _moments(
    low: Float[np.ndarray, " N"], high: Float[np.ndarray, " N"], mean: float, std: float
) -> tuple[Float[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """Mean and mean square of a Gaussian between two edges, of which the lower may be infinite.

    Probabilities are logarithms: a pixel with light of its own lies far out in the tail.
    """
    from scipy.special import log_ndtr

    near, far = (low - mean) / std, (high - mean) / std
    # Mirrored above the mean, where otherwise both would round to one.
    more, less = np.where(near > 0, (-near, -far), (far, near))
    share = log_ndtr(more) + np.log1p(-np.exp(log_ndtr(less) - log_ndtr(more)))
    at_near, at_far = (np.exp(-(z**2) / 2 - share) / math.sqrt(2 * math.pi) for z in (near, far))
    pull = at_near - at_far
    bend = np.where(np.isinf(near), 0.0, near) * at_near - far * at_far
    return mean + std * pull, mean**2 + 2 * mean * std * pull + std**2 * (1 + bend)
