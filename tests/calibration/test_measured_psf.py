from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax import DistaxWarning, Sensor, Unmixer, expose, make_targets, render
from distax.calibration import calibrate
from distax.calibration.measured_psf import (
    gauss_newton_step,
    images_of_unit_flux,
    normal_matrix,
    normalise_flux,
    right_hand_side,
)
from distax.imaging.psf import MeasuredPsf, pixel_response
from distax.imaging.scenes import ScenePrior, simulate
from distax.metrics import assign

OVERSAMPLING = 3
COUNT = 80
PRIOR = ScenePrior(max_targets=2, cluster=1.5, min_intensity=400.0, max_intensity=600.0)


def wide_and_narrow(row, column):
    """Returns a PSF with a fainter, wider companion to one side, at offsets in pixels."""
    narrow, wide = np.exp(-(row**2 + column**2) / 0.6), np.exp(-((row + 0.3) ** 2 + column**2) / 2)
    return (0.8 * narrow / 0.6 + 0.2 * wide / 2) / np.pi


@pytest.fixture(scope="module")
def sensor():
    offset = (np.arange(37) - 18) / OVERSAMPLING
    psf = MeasuredPsf.from_samples(
        wide_and_narrow(*np.meshgrid(offset, offset, indexing="ij")), OVERSAMPLING
    )
    return Sensor(saturation=None, bit_depth=16, read_noise=2.0, background=50.0, measured_psf=psf)


@pytest.fixture(scope="module")
def truth():
    place, flux = jax.random.split(jax.random.key(0))
    return make_targets(
        5 + jax.random.uniform(place, (COUNT, 1, 2), minval=-0.5, maxval=0.5),
        jax.random.uniform(flux, (COUNT, 1), minval=4e3, maxval=2e4),
    )


@pytest.fixture(scope="module")
def images(sensor, truth):
    return np.asarray(expose(jax.random.key(1), render(truth, sensor), sensor))


@pytest.fixture(scope="module")
def measured(images, sensor):
    closed = replace(sensor, background=0.0)
    dark = expose(jax.random.key(2), jnp.zeros((8, 30, 30)), closed)
    return calibrate(images, np.asarray(dark), measured_psf=True)


def test_the_measured_psf_is_closer_than_a_gaussian(measured, sensor):
    psf = measured.sensor.measured_psf
    offset = (np.arange(len(psf.samples)) - len(psf.samples) // 2) / psf.oversampling
    row, column = np.meshgrid(offset, offset, indexing="ij")
    # Images do not constrain the PSF's centre, so the best shift is taken out.
    shifts = np.linspace(-0.1, 0.1, 41)
    errors = [np.abs(psf.samples - wide_and_narrow(row + s, column)).max() for s in shifts]
    assert min(errors) < 0.05 * psf.samples.max()
    gaussian = np.exp(-(row**2 + column**2) / (2 * measured.sensor.sigma**2))
    gaussian *= psf.samples.sum() / gaussian.sum()
    far = [np.abs(gaussian - wide_and_narrow(row + s, column)).max() for s in shifts]
    assert min(far) > 0.1 * psf.samples.max()


def test_wings_do_not_raise_the_background(measured):
    quantity = measured.quantities["background"]
    assert abs(quantity.value - 50.0) < 5 * quantity.std + 0.02


def test_the_psf_has_few_terms(measured):
    assert 2 <= len(measured.sensor.measured_psf.rows) <= 4


def test_nearly_all_sources_are_used(measured):
    assert measured.used > 0.9 * COUNT
    assert measured.misfit == pytest.approx(1.0, abs=0.1)


def typical_error(sensor, images, truth):
    """Returns the median distance in pixels from the true targets, their common shift removed."""
    found = Unmixer(method="refine", sensor=sensor, prior=PRIOR)(np.asarray(images))
    pairing = assign(found, truth)
    partner = np.maximum(pairing.partner, 0)[..., None]
    true = np.take_along_axis(np.asarray(truth.position), partner, axis=1)
    away = (np.asarray(found.position) - true)[np.asarray(pairing.paired)]
    return np.median(np.linalg.norm(away - np.median(away, axis=0), axis=-1))


def test_the_measured_psf_unmixes_nearly_as_well_as_the_true_one(measured, sensor):
    images, truth = simulate(jax.random.key(3), 64, sensor, PRIOR)
    with pytest.warns(DistaxWarning, match="median misfit"):
        gaussian = typical_error(replace(measured.sensor, measured_psf=None), images, truth)
    found, possible = (typical_error(s, images, truth) for s in (measured.sensor, sensor))
    assert found < 1.2 * possible
    assert gaussian > 1.4 * possible


def test_noise_and_pairs_are_found_without_dark_frames(images, sensor):
    """Replaces three sources by close pairs, which must be rejected."""
    place = jnp.array(
        [[[5.1, 4.8], [6.0, 5.4]], [[4.7, 5.2], [5.4, 4.4]], [[5.0, 5.3], [4.2, 4.6]]]
    )
    pairs = render(make_targets(place, jnp.full((3, 2), 6e3)), sensor)
    taken = np.asarray(expose(jax.random.key(4), pairs, sensor))
    result = calibrate(np.concatenate([images[:-3], taken]), measured_psf=True)
    assert result.rejected >= 3
    assert result.used > 0.9 * (COUNT - 3)
    assert result.misfit == pytest.approx(1.0, abs=0.1)
    assert result.quantities["read_noise"].value == pytest.approx(2.0, rel=0.1)
    assert result.quantities["read_noise"].source == "residuals of the fit"


def test_a_gaussian_in_the_fourier_basis_matches_the_imaging_model(sources, basis):
    """Compares pixels made from the basis with the Gaussian's integral over pixels."""
    row, column, flux, level = sources.parameters
    down, across = (
        np.asarray(pixel_response(place + 4, 9, sigma))
        for place, sigma in ((row, 0.7), (column, 0.8))
    )
    ideal = (flux[:, None, None] * down[:, :, None] * across[:, None]).reshape(6, -1).T + level
    np.testing.assert_allclose(sources.patch.counts, ideal, atol=1e-3 * flux.max())


def test_residuals_vanish_at_the_true_sources(sources, basis):
    shape = images_of_unit_flux(basis.values(sources.offsets()), basis.gaussian(0.7, 0.8))
    residual, weight = sources.residuals_and_weights(shape)
    np.testing.assert_allclose(residual, 0.0, atol=1e-3)
    variance = np.asarray(sources.patch.variance + 1 / 12).T.reshape(shape.shape)
    np.testing.assert_allclose(weight, 1 / variance, rtol=1e-5)


def test_gauss_newton_steps_converge_to_the_true_sources(sources, basis):
    away = np.array([0.05, -0.06, 80.0, 3.0])[:, None] * np.array([1, -1, 1, -1, 1, -1])
    amplitudes, found = basis.gaussian(0.7, 0.8), sources.add(away)
    for _ in range(4):
        found = found.add(gauss_newton_step(found, amplitudes, basis))
    np.testing.assert_allclose(found.parameters[:2], sources.parameters[:2], atol=1e-5)
    np.testing.assert_allclose(found.parameters[2:], sources.parameters[2:], rtol=1e-4)


def test_normal_equations_match_the_design_matrix(sources, basis):
    """Sources that do not define the PSF must not enter."""
    rng = np.random.default_rng(1)
    values, weight = basis.values(sources.offsets()), rng.uniform(0.5, 2.0, (6, 9, 9))
    residual = rng.standard_normal((6, 9, 9))
    rows, columns = values
    design = np.einsum("n,nib,njc->nijbc", sources.parameters[2], rows, columns)
    design = design[:5, ..., basis.resolved].reshape(5 * 81, -1)
    weights = weight[:5].reshape(-1, 1)
    found = normal_matrix(sources, values, weight, basis)
    np.testing.assert_allclose(found, design.T @ (weights * design), rtol=1e-9, atol=1e-3)
    vector = right_hand_side(sources, values, weight * residual, basis)
    np.testing.assert_allclose(
        vector, design.T @ (weights[:, 0] * residual[:5].ravel()), rtol=1e-9, atol=1e-6
    )


def test_normalise_flux_gives_unit_flux_and_keeps_the_images(sources, basis):
    """The given PSF has one percent too much flux, and wings that the backgrounds have absorbed."""
    amplitudes = 1.01 * basis.gaussian(0.7, 0.8)
    with_wings = sources.add(np.stack([*np.zeros((3, 6)), 1e-3 * sources.parameters[2]]))
    values = basis.values(sources.offsets())
    found, after = normalise_flux(amplitudes, with_wings, basis)
    assert found[0, 0] * basis.area == pytest.approx(1.0)
    images = [
        part.flux * images_of_unit_flux(values, psf) + part.parameters[3, :, None, None]
        for part, psf in ((with_wings, amplitudes), (after, found))
    ]
    np.testing.assert_allclose(*images, rtol=1e-9)
    # The part of the backgrounds that is proportional to the flux has moved to the PSF.
    flux, level = after.parameters[2:, :5]
    assert abs(np.polyfit(flux, level, 1)[0]) < 1e-4
