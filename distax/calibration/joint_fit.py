"""Joint fit in rounds: PSF, noise model and rejection of windows that hold no single source.

Each round fits the Gaussian PSF to the sources in use, re-weights the pixels by the noise that the
model expects, and tests for each source whether one Gaussian of the common width explains it. Two
close sources widen the PSF, so they have to be rejected before the width can be trusted.
"""

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from distax.calibration.noise import NoiseModel, fit_noise_model
from distax.calibration.result import Departure
from distax.calibration.sources import MIN_SOURCES
from distax.fitting.gaussian_psf import (
    MAX_SIGMA,
    MIN_SIGMA,
    WIDTHS,
    PsfFit,
    eliminate_sources,
    fit_psf,
    residual_dof,
)
from distax.fitting.patch import Patch, cut_patches, window_width
from distax.imaging.sensor import Sensor
from distax.runtime.errors import DistaxError

SOURCE_SQUARE = 3.0
"""Side in pixels of a square around the source. A window is this square plus `SOURCE_REACH`
standard deviations of the PSF on every side. A larger square constrains the background better, but
admits more neighbours."""
SOURCE_REACH = 4.0
"""Margin of a window around that square, in standard deviations of the PSF. Beyond one edge lies at
most 3e-5 of the flux of a source inside the square."""
_ROUNDS = 6
"""Rounds of fit, noise model and rejection. More of them cost time; fewer leave noise and rejected
sources that do not yet agree with each other."""
_SIGMA_MARGIN = 1e-3
"""If a fitted width is nearer to a bound than this (pixels), it counts as lying at the bound."""
_OUTLIER_SIGMAS = 4.0
"""If a source fails a test with this significance, in standard deviations of a Gaussian, it is
rejected. Chance alone rejects about one good source in 10,000: one in 31,600 by χ², and one in
15,800 by the score test (one in 13,400 with two widths). A lower limit trims the tails of good
sources, and makes noise and errors look smaller than they are; a higher one keeps closer pairs."""
_CLIP_MARGIN = 3.0
"""If a pixel's expected level is nearer to clipping than this, in standard deviations of the noise,
the noise and the tests leave the pixel out. A smaller margin biases the noise; a larger one loses
the brightest pixels."""
_RING_EDGES = (0.0, 0.75, 1.25, 1.75, 2.25, 3.0, 4.0)
"""Edges in pixels of the rings around sources in which residuals are averaged. Narrower rings show
finer departures of the PSF, but hold fewer pixels."""
MAD_TO_SIGMA = 1.4826
"""Standard deviation of a Gaussian in units of its median absolute deviation."""


class Residuals:
    """Residuals of a fit, and the tests on them; arrays are NumPy's, pixels by sources.

    Args:
      fit: the fit.
      patch: the windows that were fitted.
      side: side of the windows in pixels.
      sensor: the sensor that the fit started from.
      round_psf: True if the PSF has one width.
      shared: False if each source has widths of its own.

    Attributes:
      fit, side, round_psf: as given.
      residual, weight: as in `PsfFit`.
      level: expected counts, the background included.
      dof: degrees of freedom of each residual; see `gaussian_psf.residual_dof`.
      unclipped: True for pixels that are known and whose expected level lies well away from
        clipping. Near clipping only some noise values are seen, which would bias the noise.
    """

    def __init__(
        self,
        fit: PsfFit,
        patch: Patch,
        side: int,
        sensor: Sensor,
        round_psf: bool,
        shared: bool = True,
    ):
        self.fit, self.side, self.round_psf = fit, side, round_psf
        self.residual, self.weight = np.asarray(fit.residual, float), np.asarray(fit.weight, float)
        self.level = np.asarray(fit.image, float) + sensor.background
        self.dof = np.asarray(residual_dof(fit, side, shared), float)
        noise = np.sqrt(np.asarray(patch.variance + patch.rounding, float))
        self.unclipped = np.isfinite(patch.lower) & np.isfinite(patch.upper)
        self.unclipped &= self.level + _CLIP_MARGIN * noise < sensor.clip_level
        if sensor.digital:
            self.unclipped &= self.level - _CLIP_MARGIN * noise > 0

    def chi_square(self) -> tuple[Float[np.ndarray, " sources"], Float[np.ndarray, " sources"]]:
        """Returns χ² of each source's residuals, and its degrees of freedom."""
        squares = np.where(self.unclipped, self.weight * self.residual**2, 0.0)
        dof = np.where(self.unclipped, self.dof, 0.0)
        # A window whose pixels all clip has no degrees of freedom. The floor keeps χ² over its
        # degrees of freedom finite.
        return squares.sum(axis=0), np.maximum(dof.sum(axis=0), 1e-3)

    def misfit(self, used: Bool[np.ndarray, " sources"]) -> float:
        """Returns the root-mean-square residual in units of the noise; about 1 if the PSF fits."""
        squares, dof = self.chi_square()
        return float(np.sqrt(squares[used].sum() / dof[used].sum()))

    def select_typical(self) -> Bool[np.ndarray, " sources"]:
        """Selects sources whose reduced χ² is at most twice the median.

        It needs no noise model, and serves as a first guess while the noise is unknown.
        """
        reduced = np.divide(*self.chi_square())
        return reduced <= 2 * np.median(reduced)

    def select_within_noise(
        self, used: Bool[np.ndarray, " sources"]
    ) -> Bool[np.ndarray, " sources"]:
        """Selects sources whose χ² is compatible with the noise.

        The limit is the quantile of χ² by the cube-root approximation (Wilson & Hilferty, PNAS 17,
        1931). It is multiplied by the noise scale of the sources in use. So an error that all
        sources share, such as a wrong shape of the PSF, does not reject them all.
        """
        squares, dof = self.chi_square()
        spread = 2 / (9 * dof)
        limit = dof * (1 - spread + _OUTLIER_SIGMAS * np.sqrt(spread)) ** 3
        return squares < self._noise_scale(used) * limit

    def select_single_sources(
        self, used: Bool[np.ndarray, " sources"]
    ) -> Bool[np.ndarray, " sources"]:
        """Selects sources that one Gaussian of the common width explains.

        Two tests must pass: `select_within_noise` and Rao's score test (Proc. Camb. Philos. Soc.
        44, 1948). Let M w = g be the source's reduced normal equations for the widths. Then
        gᵀ M⁻¹ g follows χ² with as many degrees of freedom as there are widths. It measures how
        strongly the source alone would change the widths. A close pair fails the score test at
        smaller separations than the χ² test.
        """
        matrix, vector = self.width_equations()
        step = np.linalg.solve(matrix, vector[..., None])[..., 0]
        score = np.sum(step * vector, axis=-1)
        # With one degree of freedom the limit is the square of the Gaussian's. With two, the same
        # probability gives 19.3, so 3 is added.
        limit = _OUTLIER_SIGMAS**2 + (0 if self.round_psf else 3)
        return self.select_within_noise(used) & (score < self._noise_scale(used) * limit)

    def _noise_scale(self, used: Bool[np.ndarray, " sources"]) -> float:
        """Returns the median reduced χ² of the sources in use, at least 1."""
        squares, dof = self.chi_square()
        return max(1.0, float(np.median(squares[used] / dof[used])))

    def width_covariance(
        self, used: Bool[np.ndarray, " sources"]
    ) -> Float[np.ndarray, "axes axes"]:
        """Returns the covariance in pixels² of the shared widths.

        If the misfit exceeds 1, the noise alone understates the errors. The covariance is then
        multiplied by the squared misfit.
        """
        matrix, _ = self.width_equations()
        return np.linalg.inv(matrix[used].sum(axis=0)) * max(1.0, self.misfit(used)) ** 2

    def width_equations(
        self,
    ) -> tuple[Float[np.ndarray, "sources axes axes"], Float[np.ndarray, "sources axes"]]:
        """Returns each source's normal equations for the widths, its own parameters eliminated."""
        reduced_matrix, reduced_vector, _, _ = _eliminate_sources(self.fit.matrix, self.fit.vector)
        matrix = np.moveaxis(np.asarray(reduced_matrix, float), -1, 0)
        vector = np.asarray(reduced_vector, float).T
        if self.round_psf:
            return matrix.sum(axis=(1, 2), keepdims=True), vector.sum(axis=1, keepdims=True)
        return matrix, vector

    def departures(self, used: Bool[np.ndarray, " sources"]) -> list[Departure]:
        """Averages the residuals in rings around the sources; they are zero for a correct PSF.

        A ring's share s minimises Σ w (r − s·flux)² over its pixels, with residuals r and weights
        w.
        """
        parameters = np.asarray(self.fit.parameters, float)
        axis = np.arange(self.side) - self.side // 2
        row, column = (grid.reshape(-1, 1) for grid in np.meshgrid(axis, axis, indexing="ij"))
        distance = np.hypot(row - parameters[0], column - parameters[1])
        flux = parameters[2]
        rings = []
        for inner, outer in pairwise(_RING_EDGES):
            inside = self.unclipped & used & (distance >= inner) & (distance < outer)
            weight = np.where(inside, self.weight, 0.0)
            total = np.sum(weight * flux**2)
            if total > 0:
                share = np.sum(weight * flux * self.residual) / total
                rings.append(Departure(inner, outer, float(share), float(total**-0.5)))
        return rings


_eliminate_sources = jax.jit(eliminate_sources)


@dataclass(frozen=True)
class JointFit:
    """PSF and noise model that isolated sources share.

    Attributes:
      residuals: residuals of the fit; `residuals.fit` is the fit itself.
      used: True for sources that the common PSF explains.
      noise: the noise model.
      sensor: the sensor that the fit started from. The fit's counts are relative to its
        background.
    """

    residuals: Residuals
    used: Bool[np.ndarray, " sources"]
    noise: NoiseModel
    sensor: Sensor

    @property
    def parameters(self) -> Float[np.ndarray, "6 used"]:
        """Parameters of the sources in use.

        Row and column in pixels from the centre of the window, flux and background in counts, and
        the PSF's standard deviations in pixels over rows and over columns.
        """
        return np.asarray(self.residuals.fit.parameters, float)[:, self.used]

    @property
    def sigmas(self) -> Float[np.ndarray, "2"]:
        """Common standard deviations of the PSF in pixels, over rows and over columns."""
        return self.parameters[WIDTHS, 0]


def fit_each_source(
    windows: Float[np.ndarray, "sources side side"], sensor: Sensor, noise: NoiseModel
) -> tuple[PsfFit, Patch, int]:
    """Fits each source with a round PSF of its own.

    Args:
      windows: windows around the sources, larger than those of the fit.
      sensor: the sensor; its sigma starts the fit.
      noise: the noise model.

    Returns:
      The fit, the windows that were fitted, and their side in pixels.
    """
    side = window_width(sensor, SOURCE_SQUARE, SOURCE_REACH)
    patch = cut_patches(windows, sensor, side)
    # Here the noise is taken from the counts, as nothing else is known yet; see `assign_noise`.
    patch = assign_noise(patch, noise, np.asarray(patch.counts) + sensor.background)
    # Noise may sum to zero or less. At a flux of zero, position and width would have no gradient.
    flux = jnp.maximum(jnp.sum(patch.counts, axis=0), 1.0)
    zero = jnp.zeros_like(flux)
    start = jnp.stack([zero, zero, flux, zero, *(zero + sigma for sigma in sensor.sigmas)])
    used = jnp.ones(len(windows), bool)
    lowest = min_background(noise, sensor, len(windows))
    fit = fit_psf(start, patch, lowest, used, side, shared=False, round_psf=True)
    return fit, patch, side


def median_sigma(fit: PsfFit) -> float:
    """Returns the median width in pixels of the brighter half of separately fitted sources.

    Bright sources have well-determined widths, and the median ignores a minority of close pairs.
    """
    flux, sigma = np.asarray(fit.parameters[2]), np.asarray(fit.parameters[WIDTHS][0])
    return float(np.median(sigma[flux >= np.median(flux)]))


def fit_joint(
    windows: Float[np.ndarray, "sources side side"],
    sensor: Sensor,
    noise: NoiseModel,
    noise_known: bool,
    dark_noise: NoiseModel | None,
    round_psf: bool,
    usable: Bool[np.ndarray, " sources"] | None = None,
) -> JointFit:
    """Fits the PSF that isolated sources share, and the noise, and rejects sources in rounds.

    Args:
      windows: windows around the sources.
      sensor: the sensor; its sigma starts the fit.
      noise: its noise model, or a first guess.
      noise_known: True keeps `noise` fixed. False fits it to the residuals after each round but
        the last.
      dark_noise: noise model from dark frames, whose intercept is kept; None without dark frames.
      round_psf: True fits one σ for both axes; False fits σ over rows and σ over columns
        separately.
      usable: True for sources that may be used, such as those that an earlier fit kept. Default:
        all.

    Raises:
      DistaxError: too few sources share one PSF, or its width lies at a bound of the fit.
    """
    fit, patch, side = fit_each_source(windows, sensor, noise)
    sigma = jnp.full_like(fit.parameters[WIDTHS], median_sigma(fit))
    fit = replace(fit, parameters=fit.parameters.at[WIDTHS].set(sigma))
    used = usable = np.ones(len(windows), bool) if usable is None else usable
    for turn in range(_ROUNDS):
        patch = assign_noise(patch, noise, np.asarray(fit.image) + sensor.background)
        fit = fit_psf(
            fit.parameters,
            patch,
            min_background(noise, sensor, len(windows)),
            jnp.asarray(used),
            side,
            shared=True,
            round_psf=round_psf,
        )
        _check_widths(fit)
        residuals = Residuals(fit, patch, side, sensor, round_psf)
        # In the first round a guessed noise model could reject every source.
        guessed = turn == 0 and not noise_known
        kept = residuals.select_typical() if guessed else residuals.select_single_sources(used)
        used = usable & kept
        check_enough_sources(used)
        # The last round does not refit the noise, so that the returned noise is the one that the
        # tests used.
        if not noise_known and turn < _ROUNDS - 1:
            noise = fit_residual_noise(residuals, used, dark_noise)
    return JointFit(residuals=residuals, used=used, noise=noise, sensor=sensor)


def check_enough_sources(used: Bool[np.ndarray, " sources"]) -> None:
    """Raises DistaxError if too few sources share one PSF."""
    if used.sum() < MIN_SOURCES:
        raise DistaxError(
            f"only {used.sum()} of {len(used)} sources share one PSF; give images of brighter, "
            "isolated sources, all taken by one sensor in one focus"
        )


def _check_widths(fit: PsfFit) -> None:
    """Raises DistaxError if a shared width lies at a bound of the fit."""
    for width in np.asarray(fit.parameters[WIDTHS, 0], float).tolist():
        if not MIN_SIGMA + _SIGMA_MARGIN < width < MAX_SIGMA - _SIGMA_MARGIN:
            raise DistaxError(
                f"the PSF's width cannot be measured: the best fit is {width:.2f} px, at the end "
                f"of the range from {MIN_SIGMA:g} to {MAX_SIGMA:g} px; give images in which each "
                "source covers several pixels, but not the whole image"
            )


def assign_noise(patch: Patch, noise: NoiseModel, level: np.ndarray) -> Patch:
    """Assigns each pixel the noise variance at its expected level in counts.

    Noise from the counts themselves would bias the fit: pixels that happen to read too little would
    weigh more than those that read too much.
    """
    variance = noise.variance(level) - np.asarray(patch.rounding)
    return replace(patch, variance=jnp.asarray(np.maximum(variance, 0.0), jnp.float32))


def min_background(noise: NoiseModel, sensor: Sensor, sources: int) -> Float[Array, " sources"]:
    """Returns the lowest background of the fit, relative to the sensor's background.

    Pixels that read zero only bound the image from above. Without a lower bound, a window of zeros
    would let the background fall without limit.
    """
    std = float(noise.variance(np.array([sensor.background]))[0]) ** 0.5
    return jnp.full(sources, -sensor.background - _CLIP_MARGIN * std)


def fit_residual_noise(
    residuals: Residuals, used: Bool[np.ndarray, " sources"], dark_noise: NoiseModel | None
) -> NoiseModel:
    """Fits the noise model to the residuals of pixels that are well away from clipping.

    Args:
      residuals: residuals of the joint fit.
      used: True for sources that one PSF explains.
      dark_noise: noise model from dark frames, whose intercept is kept; None fits the intercept.
    """
    kept = residuals.unclipped & used
    squares = residuals.residual[kept] ** 2
    return fit_noise_model(residuals.level[kept], squares, residuals.dof[kept], dark_noise)


def fit_residual_noise_robustly(joint: JointFit, dark_noise: NoiseModel | None) -> NoiseModel:
    """Fits the noise model to residuals that also hold errors of the PSF in bright pixels.

    Errors of the PSF grow with the flux, so a fit would take them for shot noise. So the noise of
    the dimmer half of the pixels is measured first, by the median absolute deviation (Hampel, J.
    Am. Stat. Assoc. 69, 1974). The slope is then fitted with that point fixed, and is dropped if it
    implies a negative variance without light. With dark frames the intercept is known, and
    `fit_residual_noise` is used instead.

    Args:
      joint: the joint fit.
      dark_noise: noise model from dark frames, whose intercept is kept; None without dark frames.
    """
    if dark_noise is not None:
        return fit_residual_noise(joint.residuals, joint.used, dark_noise)
    residuals = joint.residuals
    kept = residuals.unclipped & joint.used & (residuals.dof > 0)
    dim = kept & (residuals.level <= np.median(residuals.level[kept]))
    scaled = np.abs(residuals.residual[dim]) / np.sqrt(residuals.dof[dim])
    std = MAD_TO_SIGMA * np.median(scaled)
    level, pixels = float(np.median(residuals.level[dim])), int(dim.sum())
    # The fixed point stands in for a dark level in the fit of the slope.
    at_dim_level = NoiseModel(
        float(std**2), float(std**2) * math.sqrt(2 / pixels), dark_level=level
    )
    fitted = fit_residual_noise(residuals, joint.used, at_dim_level)
    intercept = fitted.intercept - fitted.slope * level
    if intercept > 0:
        return replace(fitted, intercept=intercept, dark_level=0.0)
    return replace(at_dim_level, dark_level=0.0)
