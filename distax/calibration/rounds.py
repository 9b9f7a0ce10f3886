"""Rounds of fitting the PSF, weighing the noise and leaving out what is not one source."""

import math
from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from distax.calibration.noise import Line, fitted_line
from distax.calibration.psf import NARROWEST, OWN, WIDEST, PsfFit, fit_psf
from distax.calibration.quality import CLEAR, Residuals
from distax.calibration.sources import FEWEST
from distax.fitting.patch import Patch, cut, window_width
from distax.imaging.scenes import ScenePrior
from distax.imaging.sensor import Sensor
from distax.runtime.errors import DistaxError

AROUND = ScenePrior(cluster=3.0, max_targets=1)
"""A window that is cut for this prior holds a source and, around it, the background."""
_ROUNDS = 6
_AT_END = 1e-3
"""Pixels within which a width is at the end of those that are looked for."""


@dataclass(frozen=True)
class JointFit:
    """The common PSF of isolated sources.

    Attributes:
      residuals: what the fit leaves; `residuals.fit` is the fit.
      used: sources that one Gaussian explains.
      line: the noise.
      sensor: as it was known before the fit; its background is what counts start from.
    """

    residuals: Residuals
    used: Bool[np.ndarray, " lanes"]
    line: Line
    sensor: Sensor

    @property
    def parameters(self) -> Float[np.ndarray, "D used"]:
        """Parameters of the sources that are used; see `PsfFit`."""
        return np.asarray(self.residuals.fit.parameters, float)[:, self.used]

    @property
    def sigmas(self) -> Float[np.ndarray, "2"]:
        """The common standard deviations of the PSF in pixels."""
        return self.parameters[OWN:, 0]


def each_by_itself(
    crops: Float[np.ndarray, "N side side"], sensor: Sensor, line: Line
) -> tuple[PsfFit, Patch, int]:
    """Every source with a round PSF of its own, its patch and the window's width."""
    width = window_width(sensor, AROUND)
    patch = cut(crops, sensor, AROUND)
    level = np.asarray(patch.counts) + sensor.background
    patch = with_noise(patch, line, level)
    flux = jnp.maximum(jnp.sum(patch.counts, axis=0), 1.0)
    none = jnp.zeros_like(flux)
    start = jnp.stack([none, none, flux, none, *(none + sigma for sigma in sensor.sigmas)])
    used = jnp.ones(len(crops), bool)
    dimmest = _dimmest(line, sensor, len(crops))
    fit = fit_psf(start, patch, dimmest, used, width, shared=False, round_psf=True)
    return fit, patch, width


def typical_sigma(fit: PsfFit) -> float:
    """The median width of the brighter half of sources, which some that are not one do not move."""
    intensity, sigma = np.asarray(fit.parameters[2]), np.asarray(fit.parameters[OWN])
    return float(np.median(sigma[intensity >= np.median(intensity)]))


def joint_fit(
    crops: Float[np.ndarray, "N side side"],
    sensor: Sensor,
    line: Line,
    noise_known: bool,
    darkness: Line | None,
    round_psf: bool,
    usable: Bool[np.ndarray, " lanes"] | None = None,
) -> JointFit:
    """The PSF that isolated sources share, the noise, and which sources it holds for.

    Args:
      crops: windows around them.
      sensor: what is known of the sensor; its sigma is where the fit starts.
      line: its noise, or a first guess.
      noise_known: whether the noise is measured; otherwise it is taken from the residuals.
      darkness: what dark frames tell of it.
      round_psf: whether the PSF has one width, or one over rows and one over columns.
      usable: sources that another fit has not left out; all without it.

    Raises:
      DistaxError: too few sources share one PSF, or it is narrower or wider than can be told.
    """
    fit, patch, width = each_by_itself(crops, sensor, line)
    sigma = jnp.full_like(fit.parameters[OWN:], typical_sigma(fit))
    fit = replace(fit, parameters=fit.parameters.at[OWN:].set(sigma))
    used = usable = np.ones(len(crops), bool) if usable is None else usable
    for number in range(_ROUNDS):
        patch = with_noise(patch, line, np.asarray(fit.image) + sensor.background)
        fit = fit_psf(
            fit.parameters,
            patch,
            _dimmest(line, sensor, len(crops)),
            jnp.asarray(used),
            width,
            shared=True,
            round_psf=round_psf,
        )
        _check_widths(fit)
        residuals = Residuals(fit, patch, width, sensor, round_psf)
        guess = number == 0 and not noise_known
        used = usable & (residuals.usual() if guess else residuals.explained(used))
        check_shared(used)
        if not noise_known and number < _ROUNDS - 1:
            line = line_of(residuals, used, darkness)
    return JointFit(residuals=residuals, used=used, line=line, sensor=sensor)


def check_shared(used: Bool[np.ndarray, " lanes"]) -> None:
    """Raise DistaxError where too few sources are left that one PSF holds for."""
    if used.sum() < FEWEST:
        raise DistaxError(
            f"only {used.sum()} of {len(used)} sources share one PSF; give images of brighter "
            "sources that are alone, all taken by one sensor in one focus"
        )


def _check_widths(fit: PsfFit) -> None:
    """Raise DistaxError for a shared width at the end of those that are looked for."""
    for width in np.asarray(fit.parameters[OWN:, 0], float).tolist():
        if not NARROWEST + _AT_END < width < WIDEST - _AT_END:
            raise DistaxError(
                f"the PSF's width cannot be told: the best fit has {width:.2f} px, the end of the "
                f"widths that are looked for, {NARROWEST:g} to {WIDEST:g} px; give images in which "
                "sources spread over some pixels, but not over all"
            )


def with_noise(patch: Patch, line: Line, level: np.ndarray) -> Patch:
    """Pixels with the noise of what is expected of them: their own would bias the fit."""
    variance = line.variance(level) - np.asarray(patch.rounding)
    return replace(patch, variance=jnp.asarray(np.maximum(variance, 0.0), jnp.float32))


def _dimmest(line: Line, sensor: Sensor, lanes: int) -> Float[Array, " lanes"]:
    """Backgrounds below which zero pixels would leave the fit free to go anywhere."""
    noise = float(line.variance(np.array([sensor.background]))[0]) ** 0.5
    return jnp.full(lanes, -sensor.background - CLEAR * noise)


def line_of(residuals: Residuals, used: Bool[np.ndarray, " lanes"], darkness: Line | None) -> Line:
    """The noise by the residuals of pixels that are nowhere near clipping."""
    here = residuals.clear & used
    squares = residuals.residual[here] ** 2
    return fitted_line(residuals.level[here], squares, residuals.freedom[here], darkness)


def noise_left(joint: JointFit, darkness: Line | None) -> Line:
    """The noise by what is left; of dim pixels first, as bright ones have the PSF's errors too."""
    if darkness is not None:
        return line_of(joint.residuals, joint.used, darkness)
    left = joint.residuals
    here = left.clear & joint.used & (left.freedom > 0)
    dim = here & (left.level <= np.median(left.level[here]))
    # A Gaussian's standard deviation is so many times its median absolute one.
    spread = 1.4826 * np.median(np.abs(left.residual[dim]) / np.sqrt(left.freedom[dim]))
    level, number = float(np.median(left.level[dim])), int(dim.sum())
    at_level = Line(float(spread**2), float(spread**2) * math.sqrt(2 / number), dark=level)
    line = line_of(left, joint.used, at_level)
    at_zero = line.at_zero - line.per_count * level
    # The level cannot have more shot noise than there is noise: such a slope is the PSF's errors.
    return replace(line, at_zero=at_zero, dark=0.0) if at_zero > 0 else replace(at_level, dark=0.0)
