from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax import DistaxWarning, Sensor, Unmixer, expose, make_targets, render
from distax.calibration import calibrate
from distax.imaging.psf import MeasuredPsf
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
