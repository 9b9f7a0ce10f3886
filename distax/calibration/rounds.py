"""Rounds of fitting the PSF, weighing the noise and leaving out what is not one source."""

from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from distax.calibration.noise import Line, fitted_line
from distax.calibration.psf import OWN, PsfFit, fit_psf
from distax.calibration.quality import CLEAR, Residuals
from distax.offgrid.patch import ROUNDING_VARIANCE, Patch, cut, window_width
from distax.scenes import PlacementLaw
from distax.sensor import Sensor

AROUND = PlacementLaw(cluster=3.0, max_targets=1)
"""A window that is cut for this law holds a source and, around it, the background."""
_ROUNDS = 6


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
        residuals = Residuals(fit, patch, width, sensor, round_psf)
        guess = number == 0 and not noise_known
        used = usable & (residuals.usual() if guess else residuals.explained(used))
        if not noise_known and number < _ROUNDS - 1:
            line = line_of(residuals, used, darkness)
    return JointFit(residuals=residuals, used=used, line=line, sensor=sensor)


def with_noise(patch: Patch, line: Line, level: np.ndarray) -> Patch:
    """Pixels with the noise of what is expected of them: their own would bias the fit."""
    variance = line.variance(level) - np.asarray(patch.rounding)
    return replace(patch, variance=jnp.asarray(np.maximum(variance, 0.0), jnp.float32))


def _dimmest(line: Line, sensor: Sensor, lanes: int) -> Float[Array, " lanes"]:
    """Backgrounds below which zero pixels would leave the fit free to go anywhere."""
    variance = float(line.variance(np.array([sensor.background]))[0]) - ROUNDING_VARIANCE
    return jnp.full(lanes, -sensor.background - CLEAR * max(variance, 0.0) ** 0.5)


def line_of(residuals: Residuals, used: Bool[np.ndarray, " lanes"], darkness: Line | None) -> Line:
    """The noise by the residuals of pixels that are nowhere near clipping."""
    here = residuals.clear & used
    squares = residuals.residual[here] ** 2
    return fitted_line(residuals.level[here], squares, residuals.freedom[here], darkness)
