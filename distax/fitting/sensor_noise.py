"""Noise of a sensor from the residuals of fits, and its saturation from the largest counts."""

import math
from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from distax.fitting.sensor_equations import Residuals
from distax.imaging.sensor import Sensor
from distax.runtime.errors import DistaxError

_FEWEST_FREEDOM = 50.0
"""With fewer degrees of freedom, the noise is not estimated: its error would exceed a fifth."""
_DISTINCT = 2.0
"""If an estimated variance differs from the given one by more than this many standard deviations,
the estimate is used. A smaller number replaces a right read noise of zero by chance, a larger one
keeps wrong ones."""
_LEAST_SLOPE = 0.1
"""Between rounds, the variance of the shot noise per count is taken as at least this many of its
standard deviations. A smaller limit makes the gain leap, a larger one keeps shot noise that is not
there."""
_CLIPPED, _PILE = 8, 4.0
"""If the pixels at the largest count are at least the first number, and at least the second number
times those at a count just below, the largest count is a saturation. Smaller numbers take chance
for clipping. Larger ones miss the saturation in stacks with few clipped pixels."""
_BELOW = 0.05
"""Counts are just below the largest if they differ by at most this share of it. A larger share
compares with counts of another frequency, a smaller one with few pixels."""


@dataclass(frozen=True)
class Noise:
    """Noise estimated from residuals.

    Attributes:
      sensor: the sensor with this noise.
      variance: estimated variances in counts² by the field that they give: "read_noise" R², and
        "gain" 1/g per count of level. A field that was not estimated is left out.
      variance_std: their standard deviations.
      shift: largest change of a variance from that of the earlier sensor, in standard deviations.
    """

    sensor: Sensor
    variance: dict[str, float]
    variance_std: dict[str, float]
    shift: float

    @property
    def std(self) -> dict[str, float]:
        """Standard deviations of read noise in counts and gain in electrons per count."""
        std = {}
        for name, error in self.variance_std.items():
            if name == "read_noise":
                # That of √v is that of v over 2√v, which diverges for a read noise near zero.
                std[name] = error / (2 * max(self.sensor.read_noise, math.sqrt(error)))
            elif self.sensor.gain is not None:
                std[name] = error * self.sensor.gain**2
        return std

    def changed(self, name: str, given: Sensor) -> bool:
        """Returns True if a field's variance differs significantly from the given sensor's.

        A gain of None counts as changed: there is nothing to keep.
        """
        if name == "gain" and given.gain is None:
            return True
        if name not in self.variance:
            return False
        error, before = self.variance_std[name], _variances(given)[name]
        significant = name == "read_noise" or self.variance[name] > _DISTINCT * error
        return significant and abs(self.variance[name] - before) > _DISTINCT * error


def _variances(sensor: Sensor) -> dict[str, float]:
    """Returns a sensor's variance of read noise, and that of shot noise per count if it has one."""
    shot = {} if sensor.gain is None else {"gain": 1 / sensor.gain}
    return {"read_noise": sensor.read_noise**2} | shot


def fit_noise(residuals: Residuals, sensor: Sensor) -> Noise:
    """Estimates read noise and gain from squared residuals by weighted least squares.

    A squared residual has the expectation f (R² + L/g + r): f the pixel's degrees of freedom, R the
    read noise, L the level, g the gain and r the variance of rounding. The fit is linear in R² and
    1/g, and neither is negative. A sensor without a gain stays without. If the residuals leave too
    few degrees of freedom, the sensor stays as it is.

    Args:
      residuals: residuals of the images' pixels.
      sensor: the sensor that they come from, which sets the weights.
    """
    known = residuals.freedom > 0
    freedom = np.asarray(residuals.freedom[known], float)
    level = np.asarray(residuals.level[known], float)
    if freedom.sum() < _FEWEST_FREEDOM:
        return Noise(sensor, {}, {}, 0.0)
    before = _variances(sensor)
    rounding = float(sensor.rounding_variance)
    weight = freedom / (2 * (np.asarray(sensor.noise_variance(jnp.asarray(level))) + rounding) ** 2)
    design = np.stack([np.ones_like(level), level])[: len(before)]
    matrix = (design * weight) @ design.T
    vector = (design * weight) @ (residuals.squares[known] / freedom - rounding)
    solution = np.linalg.solve(matrix, vector)
    if solution.min() < 0:
        solution = _on_the_bound(matrix, vector, solution)
    errors = np.sqrt(np.diag(np.linalg.inv(matrix)))
    shift = np.abs(solution - np.array(list(before.values()))) / errors
    fitted = replace(sensor, read_noise=math.sqrt(solution[0]))
    if len(solution) > 1:
        # A slope of zero would be an infinite gain.
        fitted = replace(fitted, gain=float(1 / max(solution[1], _LEAST_SLOPE * errors[1])))
    variance, errors = (
        dict(zip(before, part.tolist(), strict=True)) for part in (solution, errors)
    )
    return Noise(fitted, variance, errors, float(shift.max()))


def _on_the_bound(
    matrix: Float[np.ndarray, "P P"], vector: Float[np.ndarray, " P"], solution: np.ndarray
) -> Float[np.ndarray, " P"]:
    """Returns the non-negative solution of normal equations whose free solution is not."""
    bound = np.zeros_like(solution)
    free = int(np.argmax(solution))
    bound[free] = max(vector[free] / matrix[free, free], 0.0)
    return bound


def seen_saturation(images: Float[np.ndarray, "N height width"], sensor: Sensor) -> float | None:
    """Returns the saturation that images show, or the given one if they show none.

    Images show a saturation if far more pixels hold their largest count than each of the counts
    just below it.

    Args:
      images: raw images in counts, none above the sensor's saturation.
      sensor: the sensor as it is known.
    """
    counts = images[np.isfinite(images)]
    largest = float(counts.max(initial=-math.inf))
    if largest <= sensor.background or largest >= sensor.clip_level:
        return sensor.saturation
    piled = int((counts == largest).sum())
    reach = _BELOW * (largest - sensor.background)
    below = int(((counts < largest) & (counts >= largest - reach)).sum())
    usual = below / max(reach, 1.0)
    return largest if piled >= max(_CLIPPED, _PILE * usual) else sensor.saturation


def check_counts(images: Float[np.ndarray, "N height width"], sensor: Sensor) -> None:
    """Raises DistaxError for counts that the sensor cannot have delivered.

    Args:
      images: raw images in counts; NaN marks unknown pixels.
      sensor: the sensor as it is known.
    """
    if np.isinf(images).any():
        raise DistaxError("images: some counts are infinite; mark unknown pixels by NaN")
    if (high := images > sensor.clip_level).any():
        raise DistaxError(
            f"images: {high.sum()} counts above the saturation of {sensor.clip_level:g}, up to "
            f"{np.nanmax(images):g}; give the counts at which pixels clip, or no saturation"
        )
    if sensor.digital and (low := images < 0).any():
        raise DistaxError(
            f"images: {low.sum()} negative counts, down to {np.nanmin(images):g}, which no "
            "digitiser delivers; give raw counts, or a sensor without a bit depth"
        )
