from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax import Sensor, make_targets, render
from distax.fitting.candidates import Search, best_fit, find_modes
from distax.fitting.fast import fit_tokens
from distax.fitting.misfit import TRUSTED_MISFIT
from distax.fitting.patch import cut_patches, window_width
from distax.fitting.prior import starting_scenes
from distax.fitting.tokens import FEATURES, features
from distax.imaging.scenes import ScenePrior, simulate

SENSOR = Sensor(saturation=None, bit_depth=None, read_noise=3.0)
PRIOR = ScenePrior(min_targets=2, max_targets=2)
SEARCH = Search(pool=32, starts=3, steps=6)
WIDTH = window_width(SENSOR, PRIOR.cluster)


@jax.jit
def read(images, sensor, prior):
    """The best fits of two targets, and the tokens."""
    patch = cut_patches(images, sensor, WIDTH)
    pool = starting_scenes(prior, 2, SEARCH.pool)
    fits = best_fit(find_modes(patch, pool, prior, SEARCH, sensor.psf), SEARCH.starts)
    return fits, fit_tokens(patch, pool, sensor, prior, SEARCH)


@pytest.fixture(scope="module")
def images():
    return simulate(jax.random.key(0), 12, SENSOR, PRIOR)[0]


@pytest.fixture(scope="module")
def results(images):
    return read(images, SENSOR, PRIOR)


def test_the_best_mode_is_the_best_fit(results):
    fit, tokens = results
    for image in range(12):
        mode = np.argmax(tokens.log_squares[image])
        scene = np.asarray(fit.scene[..., image])
        np.testing.assert_allclose(tokens.position[image, mode], scene[:, :2], rtol=1e-5)
        np.testing.assert_allclose(tokens.intensity[image, mode], scene[:, 2], rtol=1e-5)
        own = np.asarray(fit.covariance[..., image]).reshape(2, 3, 2, 3)
        expected = np.stack([own[k, :, k] for k in range(2)])
        unit = np.sqrt(np.einsum("kii->ki", expected))
        scale = unit[:, :, None] * unit[:, None]
        np.testing.assert_allclose(
            tokens.covariance[image, mode] / scale, expected / scale, atol=1e-3
        )


def test_a_finished_fit_has_no_step_to_go(results):
    tokens = results[1]
    deviation = np.sqrt(np.diagonal(tokens.covariance, axis1=-2, axis2=-1))
    best = np.argmax(tokens.log_squares, axis=1)
    relative = np.abs(tokens.step / deviation)[np.arange(len(best)), best]
    inside = np.abs(tokens.intensity - 235)[np.arange(len(best)), best] < 14.9
    assert np.median(relative[inside]) < 0.01


def test_counts_of_another_unit_give_the_same_features(images, results):
    sensor = replace(SENSOR, read_noise=10 * SENSOR.read_noise)
    prior = replace(PRIOR, min_intensity=2200.0, max_intensity=2500.0)
    scaled = features(read(10 * images, sensor, prior)[1])
    np.testing.assert_allclose(scaled, features(results[1]), atol=2e-3)


def test_features_are_of_order_one_and_know_the_number(results):
    numbers = np.asarray(features(results[1]))
    assert numbers.shape == (12, 3, 2, FEATURES)
    assert np.isfinite(numbers).all()
    assert np.abs(numbers[..., :-6]).max() < 20
    np.testing.assert_array_equal(numbers[..., -6:].argmax(axis=-1), 1)


def test_a_camera_that_does_not_explain_the_images_widens_the_errors(images, results):
    wrong = read(images, replace(SENSOR, read_noise=SENSOR.read_noise / 10), PRIOR)[1]
    misfit = np.asarray(wrong.misfit).min(axis=1)
    assert (misfit > TRUSTED_MISFIT).all()
    # Errors that are told ten times too small are multiplied by a misfit of about ten.
    ratio = np.asarray(wrong.covariance / results[1].covariance)[..., 0, 0]
    assert 0.5 < np.median(np.sqrt(ratio)) < 1.5


def test_twins_at_one_place_have_the_priors_errors():
    """Fits of two targets may end at one place, where their matrix is singular to float32."""
    sensor = replace(SENSOR, read_noise=0.02)
    image = render(make_targets(jnp.array([[5.1, 4.9]]), jnp.array([470.0])), sensor)[None]
    tokens = read(image, sensor, replace(PRIOR, separation=0.0))[1]
    std = np.sqrt(np.diagonal(tokens.covariance, axis1=-2, axis2=-1))
    assert (std > 0).all()
    assert (std <= np.array([1.0, 1.0, 30.0]) / np.sqrt(12) * 1.001).all()
    assert np.isfinite(features(tokens)).all()
