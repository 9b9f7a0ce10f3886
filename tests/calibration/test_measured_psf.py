from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax import DistaxWarning, Sensor, Unmixer, expose, make_targets, render
from distax.calibration import calibrate
from distax.calibration.measured_psf import images_of, information_of, pull_of, settled, step_of
from distax.imaging.psf import MeasuredPsf, pixel_response
from distax.imaging.scenes import ScenePrior, simulate
from distax.metrics import assign

OVERSAMPLING = 3
COUNT = 80
LAW = ScenePrior(max_targets=2, cluster=1.5, min_intensity=400.0, max_intensity=600.0)


def wide_and_narrow(row, column):
    """A PSF with a fainter, wider companion to one side, sampled in pixels' middles."""
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


def test_the_psf_is_measured_far_better_than_by_a_gaussian(measured, sensor):
    psf = measured.sensor.measured_psf
    offset = (np.arange(len(psf.samples)) - len(psf.samples) // 2) / psf.oversampling
    row, column = np.meshgrid(offset, offset, indexing="ij")
    # Where the PSF is centred no data can tell: its own centre is the Gaussian's most like it.
    shifts = np.linspace(-0.1, 0.1, 41)
    errors = [np.abs(psf.samples - wide_and_narrow(row + s, column)).max() for s in shifts]
    assert min(errors) < 0.05 * psf.samples.max()
    gaussian = np.exp(-(row**2 + column**2) / (2 * measured.sensor.sigma**2))
    gaussian *= psf.samples.sum() / gaussian.sum()
    far = [np.abs(gaussian - wide_and_narrow(row + s, column)).max() for s in shifts]
    assert min(far) > 0.1 * psf.samples.max()


def test_the_wings_are_not_taken_for_background(measured):
    quantity = measured.quantities["background"]
    assert abs(quantity.value - 50.0) < 5 * quantity.std + 0.02


def test_few_terms_are_enough(measured):
    assert 2 <= len(measured.sensor.measured_psf.rows) <= 4


def test_nearly_all_sources_are_explained(measured):
    assert measured.used > 0.9 * COUNT
    assert measured.misfit == pytest.approx(1.0, abs=0.1)


def typical_error(sensor, images, truth):
    """Median distance from the true targets in pixels, but for a shift that all have."""
    found = Unmixer(method="refine", sensor=sensor, prior=LAW)(np.asarray(images))
    pairing = assign(found, truth)
    partner = np.maximum(pairing.partner, 0)[..., None]
    true = np.take_along_axis(np.asarray(truth.position), partner, axis=1)
    away = (np.asarray(found.position) - true)[np.asarray(pairing.paired)]
    return np.median(np.linalg.norm(away - np.median(away, axis=0), axis=-1))


def test_it_unmixes_nearly_as_well_as_the_true_psf(measured, sensor):
    images, truth = simulate(jax.random.key(3), 64, sensor, LAW)
    with pytest.warns(DistaxWarning, match="median misfit"):
        gaussian = typical_error(replace(measured.sensor, measured_psf=None), images, truth)
    found, possible = (typical_error(s, images, truth) for s in (measured.sensor, sensor))
    assert found < 1.2 * possible
    assert gaussian > 1.4 * possible


def test_without_dark_frames_and_with_close_pairs_among_the_sources(images, sensor):
    """The noise is found all the same, and the pairs are left out."""
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


def test_images_under_the_waves_of_a_gaussian_are_those_of_the_imaging_model(sources, waves):
    """The pixels of the fixture were made by waves: the Gaussian's own integral is the oracle."""
    row, column, flux, level = sources.parameters
    down, across = (
        np.asarray(pixel_response(place + 4, 9, sigma))
        for place, sigma in ((row, 0.7), (column, 0.8))
    )
    ideal = (flux[:, None, None] * down[:, :, None] * across[:, None]).reshape(6, -1).T + level
    np.testing.assert_allclose(sources.patch.counts, ideal, atol=1e-3 * flux.max())


def test_nothing_is_left_of_sources_where_they_are(sources, waves):
    shape = images_of(waves.at(sources.offsets()), waves.gaussian(0.7, 0.8))
    residual, weight = sources.left(shape)
    np.testing.assert_allclose(residual, 0.0, atol=1e-3)
    variance = np.asarray(sources.patch.variance + 1 / 12).T.reshape(shape.shape)
    np.testing.assert_allclose(weight, 1 / variance, rtol=1e-5)


def test_steps_lead_back_to_where_the_sources_are(sources, waves):
    away = np.array([0.05, -0.06, 80.0, 3.0])[:, None] * np.array([1, -1, 1, -1, 1, -1])
    amplitudes, found = waves.gaussian(0.7, 0.8), sources.stepped(away)
    for _ in range(4):
        found = found.stepped(step_of(found, amplitudes, waves))
    np.testing.assert_allclose(found.parameters[:2], sources.parameters[:2], atol=1e-5)
    np.testing.assert_allclose(found.parameters[2:], sources.parameters[2:], rtol=1e-4)


def test_normal_equations_are_those_of_all_waves_in_all_pixels(sources, waves):
    """Against the design matrix, of the sources that tell of the PSF."""
    rng = np.random.default_rng(1)
    functions, weight = waves.at(sources.offsets()), rng.uniform(0.5, 2.0, (6, 9, 9))
    residual = rng.standard_normal((6, 9, 9))
    rows, columns = functions
    design = np.einsum("n,nib,njc->nijbc", sources.parameters[2], rows, columns)
    design = design[:5, ..., waves.resolved].reshape(5 * 81, -1)
    weights = weight[:5].reshape(-1, 1)
    found = information_of(sources, functions, weight, waves)
    np.testing.assert_allclose(found, design.T @ (weights * design), rtol=1e-9, atol=1e-3)
    pull = pull_of(sources, functions, weight * residual, waves)
    np.testing.assert_allclose(
        pull, design.T @ (weights[:, 0] * residual[:5].ravel()), rtol=1e-9, atol=1e-6
    )


def test_a_settled_psf_has_all_flux_and_the_images_stay(sources, waves):
    """Here a hundredth more, and with wings that pass for background."""
    amplitudes = 1.01 * waves.gaussian(0.7, 0.8)
    with_wings = sources.stepped(np.stack([*np.zeros((3, 6)), 1e-3 * sources.parameters[2]]))
    functions = waves.at(sources.offsets())
    found, after = settled(amplitudes, with_wings, waves)
    assert found[0, 0] * waves.area == pytest.approx(1.0)
    images = [
        part.flux * images_of(functions, psf) + part.parameters[3, :, None, None]
        for part, psf in ((with_wings, amplitudes), (after, found))
    ]
    np.testing.assert_allclose(*images, rtol=1e-9)
    # Of five levels and fluxes, the part that goes with the flux is the PSF's now.
    flux, level = after.parameters[2:, :5]
    assert abs(np.polyfit(flux, level, 1)[0]) < 1e-4
