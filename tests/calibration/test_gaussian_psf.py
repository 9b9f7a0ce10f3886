"""Errors of the joint fit, against its stated errors and against the Cramér–Rao bound."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax import Sensor, make_targets, render
from distax.calibration.joint_fit import SOURCE_REACH, SOURCE_SQUARE
from distax.fitting.gaussian_psf import (
    SOURCE,
    WIDTHS,
    eliminate_sources,
    fit_psf,
    image_and_jacobian,
)
from distax.fitting.patch import cut_patches, window_width
from distax.imaging.psf import pixel_response

TRIALS, SOURCES, WIDTH = 60, 10, 11
UNCLIPPED = [
    Sensor(sigma=0.4, background=10.0, read_noise=1.0),
    Sensor(sigma=0.8, background=15.0, read_noise=3.0, gain=4.0),
    Sensor(sigma=(0.5, 0.6), background=10.0, read_noise=1.0, gain=8.0),
]
SENSORS = [
    *UNCLIPPED,
    Sensor(sigma=0.5, read_noise=2.0),
    Sensor(sigma=0.5, background=20.0, gain=2.0, saturation=100.0),
]


def noise_variance(expected, sensor):
    """Returns the variance of pixels that expect these counts, without rounding."""
    gain = sensor.gain
    return sensor.read_noise**2 + (0 * expected if gain is None else expected / gain)


@jax.jit
def fit_trials(starts, patches, min_background, used, round_psf):
    def one(start, patch):
        return fit_psf(start, patch, min_background, used, WIDTH, True, round_psf)

    return jax.vmap(one)(starts, patches)


def patches_of(images, targets, sensor):
    """Cuts the windows of the trials, with the noise of the true images."""
    assert window_width(replace(sensor, sigma=0.8), SOURCE_SQUARE, SOURCE_REACH) == WIDTH
    wide = replace(sensor, sigma=0.8)
    patch = cut_patches(images, wide, WIDTH)
    variance = noise_variance(render(targets, sensor) + sensor.background, sensor)
    return replace(patch, variance=_same_windows(variance, patch))


def _same_windows(values, patch):
    padded = jnp.pad(values, [(0, 0), (WIDTH, WIDTH), (WIDTH, WIDTH)])
    corner = patch.origin.T + WIDTH - WIDTH // 2
    windows = jax.vmap(lambda v, c: jax.lax.dynamic_slice(v, c, (WIDTH, WIDTH)))(padded, corner)
    return windows.reshape(len(values), -1).T


@pytest.fixture(scope="module")
def trials(request, singles):
    """Sixty joint fits of ten sources each: the sensor, the fits and their targets."""
    sensor = request.param
    images, targets = singles(jax.random.key(1), TRIALS * SOURCES, sensor)
    patch = patches_of(images, targets, sensor)
    flux = jnp.sum(patch.counts, axis=0)
    zero = jnp.zeros_like(flux)
    start = jnp.stack([zero, zero, flux, zero, zero + 0.6, zero + 0.6])
    start, patches = jax.tree.map(
        lambda leaf: jnp.moveaxis(leaf.reshape(*leaf.shape[:-1], TRIALS, SOURCES), -2, 0),
        (start, patch),
    )
    min_background, used = jnp.full(SOURCES, -50.0), jnp.ones(SOURCES, bool)
    round_psf = jnp.array(not isinstance(sensor.sigma, tuple))
    return sensor, fit_trials(start, patches, min_background, used, round_psf), targets


def stated_covariance(fits, sensor):
    """Returns the covariance of the common widths of each trial."""
    left = jax.vmap(lambda fit: eliminate_sources(fit.matrix, fit.vector)[0])(fits)
    information = np.asarray(left, float).sum(axis=-1)
    if not isinstance(sensor.sigma, tuple):
        information = information.sum(axis=(1, 2), keepdims=True)
    return np.linalg.inv(information)


@pytest.mark.parametrize("trials", SENSORS, indirect=True)
def test_errors_match_the_stated_standard_deviations(trials):
    sensor, fits, _ = trials
    widths = np.asarray(fits.parameters[:, WIDTHS, 0], float)
    spread = np.sqrt(np.diagonal(stated_covariance(fits, sensor), axis1=1, axis2=2))
    pulls = (widths - np.array(sensor.sigmas))[:, : spread.shape[1]] / spread
    assert np.mean(np.abs(pulls) < 3) > 0.96
    # Each source's own parameters leave a bias of order 1/SNR², which more sources do not remove.
    assert np.abs(pulls.mean(axis=0)).max() < 0.25 + 4 / np.sqrt(TRIALS)
    assert 0.7 < pulls.std() < 1.3


@pytest.mark.parametrize("trials", UNCLIPPED, indirect=True)
def test_stated_errors_match_the_cramer_rao_bound(trials):
    """The bound comes from the information of all parameters at the truth, by automatic
    differentiation, as in `metrics.bound`.
    """
    sensor, fits, targets = trials
    bound = np.sqrt(np.diagonal(bounds(targets, sensor), axis1=1, axis2=2))
    spread = np.sqrt(np.diagonal(stated_covariance(fits, sensor), axis1=1, axis2=2))
    assert np.median(spread / bound, axis=0) == pytest.approx(1.0, abs=0.12)


def bounds(targets, sensor):
    def expected(parameters):
        row, column, flux, background, *sigmas = parameters
        across, along = (
            pixel_response(place, size, sigma)
            for place, size, sigma in zip((row, column), sensor.shape, sigmas, strict=True)
        )
        return flux * across[:, None] * along + background

    def information(place, flux):
        truth = jnp.array([*place[0], flux[0], sensor.background, *sensor.sigmas])
        image, slopes = expected(truth), jax.jacfwd(expected)(truth)
        variance = noise_variance(image, sensor) + 1 / 12
        return jnp.einsum("ijp,ijq,ij->pq", slopes, slopes, 1 / variance)

    with jax.enable_x64(True):
        position, intensity = jnp.float64(targets.position), jnp.float64(targets.intensity)
        each = np.asarray(jax.jit(jax.vmap(information))(position, intensity))
    if not isinstance(sensor.sigma, tuple):
        tie = np.eye(6)[:, :5]
        tie[5, 4] = 1
        each = tie.T @ each @ tie
    own, across = each[:, SOURCE, SOURCE], each[:, SOURCE, WIDTHS]
    widths = each[:, WIDTHS, WIDTHS]
    left = widths - across.swapaxes(1, 2) @ np.linalg.solve(own, across)
    return np.linalg.inv(left.reshape(TRIALS, SOURCES, *left.shape[1:]).sum(axis=1))


def test_the_jacobian_is_the_derivative_of_the_imaging_model():
    parameters = jnp.array([[0.3, -0.2, 180.0, 7.0, 0.5, 0.7]]).T
    image, jacobian = image_and_jacobian(parameters, 7)
    window = Sensor(height=7, width=7, sigma=(0.5, 0.7))
    truth = render(make_targets(jnp.array([[3.3, 2.8]]), jnp.array([180.0])), window) + 7.0
    np.testing.assert_allclose(image[:, 0], truth.ravel(), atol=1e-4)
    step = 1e-2
    for k, slope in enumerate(np.asarray(jacobian[:, :, 0])):
        ahead, behind = (
            image_and_jacobian(parameters.at[k].add(way * step), 7)[0][:, 0] for way in (1, -1)
        )
        np.testing.assert_allclose(slope, (ahead - behind) / (2 * step), atol=0.2, rtol=0.01)


def test_a_shared_width_is_fitted_to_the_sources_in_use(singles):
    """The other sources, here twice as wide, only follow the shared width."""
    narrow, wide = (Sensor(sigma=s, read_noise=1.0, background=10.0) for s in (0.5, 1.0))
    pairs = [singles(jax.random.key(2), SOURCES, sensor) for sensor in (narrow, wide)]
    images = jnp.concatenate([images for images, _ in pairs])
    targets = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *(t for _, t in pairs))
    patch = patches_of(images, targets, narrow)
    flux = jnp.sum(patch.counts, axis=0)
    zero = jnp.zeros_like(flux)
    start = jnp.stack([zero, zero, flux, zero, zero + 0.6, zero + 0.6])
    used = jnp.arange(2 * SOURCES) < SOURCES
    min_background = jnp.full(2 * SOURCES, -50.0)
    together = fit_psf(start, patch, min_background, used, WIDTH, True, True).parameters[4]
    assert np.ptp(together) == 0
    assert float(together[0]) == pytest.approx(0.5, abs=0.01)
    alone = fit_psf(start, patch, min_background, used, WIDTH, False, True).parameters[4]
    np.testing.assert_allclose(np.median(alone.reshape(2, -1), axis=1), [0.5, 1.0], rtol=0.03)
