"""Measurement of a PSF of any shape from isolated sources, by alternating least squares.

The PSF is a sum of the functions of a Fourier basis, in the offset of a pixel's centre from the
source. Given positions, fluxes and backgrounds, its amplitudes follow by linear least squares.
Given the PSF, each source's four parameters (row, column, flux, background) follow by Gauss–Newton
steps. The two alternate, as in Anderson & King, "Toward high-precision astrometry with WFPC2", PASP
112, 2000, who tabulate the same function (the effective PSF). The iteration starts from the
Gaussian of the joint fit. That Gaussian is also the prior's mean, so the PSF stays close to it
where sources are few or faint.

Two properties of the PSF are not constrained by images of sources: a shift of the PSF moves all
positions by the same amount, and a factor on the PSF divides all fluxes. The mean position is kept
at that of the Gaussian fit, and the PSF is normalised to unit flux.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from distax.calibration.fourier_basis import FourierBasis, PsfPrior
from distax.calibration.joint_fit import (
    SOURCE_REACH,
    SOURCE_SQUARE,
    JointFit,
    Residuals,
    assign_noise,
    check_enough_sources,
    fit_residual_noise_robustly,
)
from distax.calibration.noise import NoiseModel
from distax.fitting.gaussian_psf import SOURCE, evaluate_fit, image_and_jacobian
from distax.fitting.likelihood import censored
from distax.fitting.patch import Patch, cut_patches, window_width
from distax.imaging.forward import image_of, window_axes
from distax.imaging.psf import MeasuredPsf, Psf

WING_SQUARE = 6.0
"""Like `SOURCE_SQUARE`, but for the windows that the PSF is measured in, which hold its wings. A
larger square shows more of the wings, but needs more amplitudes and admits more neighbours."""
_MODEL_ERRORS = (0.05, 0.01, 0.0, 0.0)
"""Assumed relative error of the model in each round; its variance is added to the noise. In early
rounds, where the PSF is rough, this keeps the brightest pixels from dominating and good sources
from being rejected. In the last rounds only the noise is left."""
_ALTERNATIONS = 8
"""Alternations between PSF and sources in a round. Each one solves for all amplitudes again. After
fewer, PSF and sources do not yet agree."""
_SOURCE_STEPS = 3
"""Gauss–Newton steps of the sources in an alternation. Few suffice, because they start close to the
solution."""
_SETTLED_MOVE = 1e-3
"""If no source moves farther than this (pixels) in an alternation, the next one reuses the normal
matrix. Computing it takes most of the run time; with a larger value it is reused sooner, but the
alternations converge more slowly."""
_MAX_PSF_SOURCES = 300
"""The PSF is measured from at most this many sources, the brightest. More of them hardly improve
it, and the time grows with their number."""
_MAX_MOVE = 0.1
"""Largest move in pixels of a source in a step, along each axis. Longer steps may leave the range
where the PSF is nearly linear in the position."""
_BATCH = 16
"""Sources whose design matrix is in memory at once. More are faster and need more memory."""
_FLUX_SPREAD = 0.05
"""If the fluxes spread by more than this share of their mean, the regression of background on flux
can separate wings from background. If they spread less, its slope is mostly noise, and is damped.
"""
_RIDGE = 1e-9
"""Ridge added to every source's normal matrix. It makes a matrix that the pixels leave singular
invertible, and is too small to change the others."""


@dataclass(frozen=True)
class SourceWindows:
    """Sources with the windows around them.

    Attributes:
      parameters: row, column, flux and background of each source, as in `PsfFit`.
      patch: windows around the sources, with the noise variance that weights the pixels.
      side: side of the windows in pixels.
      defines_psf: True for sources that the PSF is measured from.
    """

    parameters: Float[np.ndarray, "4 sources"]
    patch: Patch
    side: int
    defines_psf: Bool[np.ndarray, " sources"]

    @property
    def flux(self) -> Float[np.ndarray, "sources 1 1"]:
        """Flux of each source in counts."""
        return self.parameters[2, :, None, None]

    @property
    def mean_position(self) -> Float[np.ndarray, "2"]:
        """Mean position in the windows, in pixels, over the sources that define the PSF."""
        return self.parameters[:2, self.defines_psf].mean(axis=1)

    def shift(self, offset: Float[np.ndarray, "2"]) -> "SourceWindows":
        """Returns the sources moved by the same offset in pixels."""
        return self.add(np.concatenate([offset, np.zeros(2)])[:, None])

    def add(self, step: Float[np.ndarray, "4 #sources"]) -> "SourceWindows":
        """Returns the sources with a step added to their parameters."""
        return replace(self, parameters=self.parameters + step)

    def offsets(self) -> Float[np.ndarray, "2 sources side"]:
        """Returns the offsets in pixels of the windows' rows and columns from each source."""
        return np.arange(self.side) - self.side // 2 - self.parameters[:2, :, None]

    def residuals_and_weights(
        self, unit_images: Float[np.ndarray, "sources side side"]
    ) -> tuple[Float[np.ndarray, "sources side side"], Float[np.ndarray, "sources side side"]]:
        """Returns residuals in counts and weights in 1/counts², given images of unit flux."""
        expected = self.flux * unit_images + self.parameters[3, :, None, None]
        sources_last = jnp.asarray(expected.reshape(len(unit_images), -1).T, jnp.float32)
        residual, weight, _ = censored(sources_last, self.patch)
        residuals, weights = (np.asarray(part, float).T for part in (residual, weight))
        return residuals.reshape(unit_images.shape), weights.reshape(unit_images.shape)


def measure_psf(
    joint: JointFit,
    windows: Float[np.ndarray, "sources side side"],
    noise: NoiseModel,
    noise_known: bool,
    dark_noise: NoiseModel | None,
) -> tuple[MeasuredPsf, JointFit]:
    """Measures the PSF of isolated sources, and repeats the joint fit with it.

    Args:
      joint: the joint fit of a Gaussian.
      windows: windows around the sources of that fit.
      noise: the sources' noise model, or a first guess.
      noise_known: True keeps `noise`. False fits it to the residuals in the rounds without model
        error.
      dark_noise: noise model from dark frames, whose intercept is kept.

    Returns:
      The PSF, and the joint fit with the residuals and sources of this PSF. Its widths are those of
      the Gaussian.

    Raises:
      DistaxError: too few sources share one PSF.
    """
    row_sigma, column_sigma = joint.sigmas.tolist()
    side = window_width(joint.sensor, WING_SQUARE, SOURCE_REACH)
    basis = FourierBasis.for_window(side, min(row_sigma, column_sigma))
    prior = basis.prior(row_sigma, column_sigma)
    amplitudes = prior.mean
    psf: Psf = (row_sigma, column_sigma)
    parameters = np.asarray(joint.residuals.fit.parameters, float)[SOURCE]
    joint = replace(joint, noise=noise)
    joint = _update_joint_fit(joint, windows, parameters, psf, _MODEL_ERRORS[0])
    for model_error in _MODEL_ERRORS:
        sources = cut_source_windows(joint, windows, psf, model_error)
        amplitudes, sources, error = _alternate(sources, amplitudes, prior, basis)
        measured = MeasuredPsf.from_samples(basis.sample(amplitudes), basis.oversampling, error)
        psf = measured
        joint = _update_joint_fit(joint, windows, sources.parameters, psf, model_error)
        check_enough_sources(joint.used)
        if not (model_error or noise_known):
            joint = replace(joint, noise=fit_residual_noise_robustly(joint, dark_noise))
    return measured, joint


def _alternate(
    sources: SourceWindows,
    amplitudes: Float[np.ndarray, "B B"],
    prior: PsfPrior,
    basis: FourierBasis,
) -> tuple[Float[np.ndarray, "B B"], SourceWindows, float]:
    """Alternates between least squares for the PSF and for the sources.

    Returns:
      Amplitudes, sources, and the standard deviation of the PSF's samples.
    """
    amplitudes, mean_position = amplitudes.copy(), sources.mean_position
    moved = math.inf
    for _ in range(_ALTERNATIONS):
        values = basis.values(sources.offsets())
        residual, weight = sources.residuals_and_weights(images_of_unit_flux(values, amplitudes))
        if moved > _SETTLED_MOVE:
            matrix = normal_matrix(sources, values, weight, basis)
            covariance = np.linalg.inv(matrix + prior.precision)
        vector = right_hand_side(sources, values, weight * residual, basis)
        vector -= prior.precision @ (amplitudes - prior.mean)[basis.resolved]
        amplitudes[basis.resolved] += covariance @ vector
        before = sources
        amplitudes, sources = normalise_flux(amplitudes, sources, basis)
        for _ in range(_SOURCE_STEPS):
            sources = sources.add(gauss_newton_step(sources, amplitudes, basis))
        # Otherwise a shift of the PSF and an opposite shift of all positions could grow without
        # changing the images.
        sources = sources.shift(mean_position - sources.mean_position)
        moved = np.abs(sources.parameters - before.parameters)[:2, sources.defines_psf].max()
    return amplitudes, sources, basis.sample_std(covariance)


def _update_joint_fit(
    joint: JointFit,
    windows: Float[np.ndarray, "sources side side"],
    parameters: Float[np.ndarray, "4 sources"],
    psf: Psf,
    model_error: float,
) -> JointFit:
    """Recomputes a joint fit's residuals with the given PSF and sources, and selects sources again.

    The fit keeps the Gaussian's widths. While the PSF is rough (`model_error` above zero), sources
    of typical χ² are selected, and later those within the noise.
    """
    patch, side, expected = _cut_windows(
        joint, windows, SOURCE_SQUARE, parameters, psf, model_error
    )
    all_parameters = joint.residuals.fit.parameters.at[SOURCE].set(parameters)
    # The Jacobian of the Gaussian is close enough for the errors and the degrees of freedom.
    _, jacobian = image_and_jacobian(all_parameters, side)
    fit = evaluate_fit(all_parameters, jnp.asarray(expected, jnp.float32), jacobian, patch)
    residuals = Residuals(fit, patch, side, joint.sensor, joint.residuals.round_psf)
    within_noise = residuals.select_within_noise(joint.used)
    used = residuals.select_typical() if model_error else within_noise
    return replace(joint, residuals=residuals, used=used)


def cut_source_windows(
    joint: JointFit, windows: Float[np.ndarray, "sources side side"], psf: Psf, model_error: float
) -> SourceWindows:
    """Cuts windows that hold the PSF's wings, and selects the sources that define the PSF."""
    parameters = np.asarray(joint.residuals.fit.parameters, float)[SOURCE]
    patch, side, _ = _cut_windows(joint, windows, WING_SQUARE, parameters, psf, model_error)
    flux = np.where(joint.used, parameters[2], 0.0)
    min_flux = np.sort(flux)[-_MAX_PSF_SOURCES:][0]
    return SourceWindows(parameters, patch, side, joint.used & (flux >= min_flux))


def _cut_windows(
    joint: JointFit,
    windows: Float[np.ndarray, "sources side side"],
    cluster: float,
    parameters: Float[np.ndarray, "4 sources"],
    psf: Psf,
    model_error: float,
) -> tuple[Patch, int, Float[np.ndarray, "pixels sources"]]:
    """Cuts windows around a square of `cluster` pixels a side, with noise from the expected counts.

    Returns:
      The windows, their side in pixels, and the expected counts above the sensor's background.
    """
    side = window_width(joint.sensor, cluster, SOURCE_REACH)
    scene = jnp.asarray(parameters[None, :3], jnp.float32)
    light = np.asarray(image_of(scene, window_axes(side), psf), float)
    patch = cut_patches(windows, joint.sensor, side)
    patch = assign_noise(patch, joint.noise, light + parameters[3] + joint.sensor.background)
    model_variance = jnp.asarray((model_error * light) ** 2, jnp.float32)
    return replace(patch, variance=patch.variance + model_variance), side, light + parameters[3]


def images_of_unit_flux(
    values: Iterable[Float[np.ndarray, "sources side B"]], amplitudes: Float[np.ndarray, "B B"]
) -> Float[np.ndarray, "sources side side"]:
    """Returns the images of sources of unit flux.

    Args:
      values: the basis functions at the windows' rows and at their columns.
      amplitudes: amplitudes of the PSF.
    """
    rows, columns = values
    return rows @ amplitudes @ columns.swapaxes(1, 2)


def gauss_newton_step(
    sources: SourceWindows, amplitudes: Float[np.ndarray, "B B"], basis: FourierBasis
) -> Float[np.ndarray, "4 sources"]:
    """Returns a Gauss–Newton step of every source's parameters, given the PSF.

    Derivatives and solution are in float64, residuals in float32. `imaging.forward` cannot serve
    here: it needs the PSF as a few products of profiles, which are made only after each round.
    """
    offsets = sources.offsets()
    rows, columns = basis.values(offsets)
    row_derivatives, column_derivatives = basis.derivatives(offsets)
    unit_images = images_of_unit_flux((rows, columns), amplitudes)
    residual, weight = sources.residuals_and_weights(unit_images)
    # The offset is pixel minus source, so its derivative by the position is −1.
    jacobian = np.stack(
        [
            -sources.flux * images_of_unit_flux((row_derivatives, columns), amplitudes),
            -sources.flux * images_of_unit_flux((rows, column_derivatives), amplitudes),
            unit_images,
            np.ones_like(unit_images),
        ]
    )
    matrix = np.einsum("pnij,nij,qnij->npq", jacobian, weight, jacobian, optimize=True)
    vector = np.einsum("pnij,nij->np", jacobian, weight * residual)
    # The pixels of a rejected source may not constrain all its parameters.
    identity = np.eye(len(jacobian))
    matrix += _RIDGE * (identity * matrix + identity)
    step = np.linalg.solve(matrix, vector[..., None])[..., 0].T
    step[:2] = np.clip(step[:2], -_MAX_MOVE, _MAX_MOVE)
    return step


def normal_matrix(
    sources: SourceWindows,
    values: Float[np.ndarray, "2 sources side B"],
    weight: Float[np.ndarray, "sources side side"],
    basis: FourierBasis,
) -> Float[np.ndarray, "resolved resolved"]:
    """Returns the normal matrix JᵀWJ of the resolved amplitudes, given the sources.

    Resolved amplitudes are those whose frequency the optics pass (`FourierBasis.resolved`). The
    design matrix J has a row for each pixel of each source and a column for each of them. It is
    built for a few sources at a time.
    """
    root = (np.sqrt(weight) * sources.flux)[sources.defines_psf]
    rows, columns = values[:, sources.defines_psf]
    row_index, column_index = np.nonzero(basis.resolved)
    total = np.zeros((len(row_index), len(row_index)))
    for first in range(0, len(root), _BATCH):
        batch = slice(first, first + _BATCH)
        products = rows[batch, :, None, row_index] * columns[batch, None, :, column_index]
        whitened = (root[batch, ..., None] * products).reshape(-1, len(row_index))
        total += whitened.T @ whitened
    return total


def right_hand_side(
    sources: SourceWindows,
    values: Float[np.ndarray, "2 sources side B"],
    weighted_residual: Float[np.ndarray, "sources side side"],
    basis: FourierBasis,
) -> Float[np.ndarray, " resolved"]:
    """Returns the right-hand side JᵀWr of the normal equations of the resolved amplitudes."""
    rows, columns = values
    each = rows.swapaxes(1, 2) @ (sources.flux * weighted_residual) @ columns
    return each[sources.defines_psf].sum(axis=0)[basis.resolved]


def normalise_flux(
    amplitudes: Float[np.ndarray, "B B"], sources: SourceWindows, basis: FourierBasis
) -> tuple[Float[np.ndarray, "B B"], SourceWindows]:
    """Returns the PSF with unit flux, and the sources changed so that their images stay the same.

    A constant in the PSF and the backgrounds of the sources have the same effect on a single image.
    Sources of different flux separate them: a background that grows with the flux belongs to the
    wings of the PSF. The growth is found by regression of background on flux.
    """
    row, column, flux, background = sources.parameters
    psf_flux, psf_background = (part[sources.defines_psf] for part in (flux, background))
    deviation = psf_flux - psf_flux.mean()
    # `damping` draws the slope `wings` to zero where all fluxes are nearly equal.
    damping = (_FLUX_SPREAD * psf_flux.mean()) ** 2
    wings = np.mean(deviation * psf_background) / (np.var(psf_flux) + damping)
    amplitudes = amplitudes.copy()
    amplitudes[0, 0] += wings
    total = amplitudes[0, 0] * basis.area
    parameters = np.stack([row, column, flux * total, background - wings * flux])
    return amplitudes / total, replace(sources, parameters=parameters)
