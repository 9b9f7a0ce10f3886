"""Rounds of fitting the PSF, weighing the noise and leaving out what is not one source."""

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from distax.calibration.gaussian_psf import (
    NARROWEST,
    OWN,
    WIDEST,
    PsfFit,
    eliminate,
    fit_psf,
    freedom,
)
from distax.calibration.noise import Line, fitted_line
from distax.calibration.result import Departure
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
_UNLIKELY = 4.0
"""Standard deviations of a Gaussian that what has the same probability of being chance is beyond:
one source in 30,000."""
CLEAR = 3.0
"""Standard deviations that a pixel's level has to keep from clipping."""
_RINGS = (0.0, 0.75, 1.25, 1.75, 2.25, 3.0, 4.0)
"""Edges in pixels of the rings around sources in which residuals are averaged."""


class Residuals:
    """What a fit leaves, in NumPy arrays, pixels by lanes.

    Attributes:
      residual, weight: see `PsfFit`.
      level: expected counts, the background included.
      freedom: see `psf.freedom`.
      round_psf: whether the PSF has one width.
      clear: pixels that are read and whose noise is nowhere near clipping. Of others only some are
        seen whole, and those are no fair sample.
    """

    def __init__(self, fit: PsfFit, patch: Patch, width: int, sensor: Sensor, round_psf: bool):
        self.fit, self.width, self.round_psf = fit, width, round_psf
        self.residual, self.weight = np.asarray(fit.residual, float), np.asarray(fit.weight, float)
        self.level = np.asarray(fit.image, float) + sensor.background
        self.freedom = np.asarray(freedom(fit, width), float)
        noise = np.sqrt(np.asarray(patch.variance + patch.rounding, float))
        self.clear = np.isfinite(patch.lower) & np.isfinite(patch.upper)
        self.clear &= self.level + CLEAR * noise < sensor.white
        if sensor.bit_depth is not None:
            self.clear &= self.level - CLEAR * noise > 0

    def squares(self) -> tuple[Float[np.ndarray, " lanes"], Float[np.ndarray, " lanes"]]:
        """Weighted squares of each source's residuals, and their degrees of freedom."""
        squares = np.where(self.clear, self.weight * self.residual**2, 0.0)
        left = np.where(self.clear, self.freedom, 0.0)
        return squares.sum(axis=0), np.maximum(left.sum(axis=0), 1e-3)

    def misfit(self, used: Bool[np.ndarray, " lanes"]) -> float:
        """Root-mean-square residual in units of the noise; 1 where the model holds."""
        squares, left = self.squares()
        return float(np.sqrt(squares[used].sum() / left[used].sum()))

    def usual(self) -> Bool[np.ndarray, " lanes"]:
        """Sources whose squares are no more than twice what is usual: a first guess."""
        ratio = np.divide(*self.squares())
        return ratio <= 2 * np.median(ratio)

    def within_noise(self, used: Bool[np.ndarray, " lanes"]) -> Bool[np.ndarray, " lanes"]:
        """Sources whose squares χ² allows (by Wilson and Hilferty), or that are as usual."""
        squares, left = self.squares()
        spread = 2 / (9 * left)
        limit = left * (1 - spread + _UNLIKELY * np.sqrt(spread)) ** 3
        return squares < self._scale(used) * limit

    def explained(self, used: Bool[np.ndarray, " lanes"]) -> Bool[np.ndarray, " lanes"]:
        """Sources that one Gaussian of the common width explains as well as it does most.

        Besides the sum of squares, how much the source by itself would change the width is tested
        (the score test), which two close sources fail first.
        """
        information, pull = self._about_width()
        step = np.linalg.solve(information, pull[..., None])[..., 0]
        score = np.sum(step * pull, axis=-1)
        # χ² of two degrees of freedom has its limit a little beyond that of one, the square.
        farthest = _UNLIKELY**2 + (0 if self.round_psf else 3)
        return self.within_noise(used) & (score < self._scale(used) * farthest)

    def _scale(self, used: Bool[np.ndarray, " lanes"]) -> float:
        """By what most sources' squares exceed the noise's, if they do."""
        squares, left = self.squares()
        return max(1.0, float(np.median(squares[used] / left[used])))

    def covariance(self, used: Bool[np.ndarray, " lanes"]) -> Float[np.ndarray, "axes axes"]:
        """Of the shared widths, larger by the misfit where the model does not hold."""
        information, _ = self._about_width()
        return np.linalg.inv(information[used].sum(axis=0)) * max(1.0, self.misfit(used)) ** 2

    def _about_width(
        self,
    ) -> tuple[Float[np.ndarray, "lanes axes axes"], Float[np.ndarray, "lanes axes"]]:
        left, pull, _, _ = _eliminate(self.fit.matrix, self.fit.vector)
        information, vector = np.moveaxis(np.asarray(left, float), -1, 0), np.asarray(pull, float).T
        if self.round_psf:
            return information.sum(axis=(1, 2), keepdims=True), vector.sum(axis=1, keepdims=True)
        return information, vector

    def departures(self, used: Bool[np.ndarray, " lanes"]) -> list[Departure]:
        """Mean residuals by distance from the source: a Gaussian's are zero."""
        parameters = np.asarray(self.fit.parameters, float)
        axis = np.arange(self.width) - self.width // 2
        row, column = (grid.reshape(-1, 1) for grid in np.meshgrid(axis, axis, indexing="ij"))
        distance = np.hypot(row - parameters[0], column - parameters[1])
        flux = parameters[2]
        rings = []
        for inner, outer in pairwise(_RINGS):
            here = self.clear & used & (distance >= inner) & (distance < outer)
            weight = np.where(here, self.weight, 0.0)
            total = np.sum(weight * flux**2)
            if total > 0:
                share = np.sum(weight * flux * self.residual) / total
                rings.append(Departure(inner, outer, float(share), float(total**-0.5)))
        return rings


_eliminate = jax.jit(eliminate)


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
