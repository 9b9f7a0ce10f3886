from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax import Sensor, make_targets, render
from distax.fitting.candidates import Search, best_fit, sample_pools
from distax.fitting.patch import cut_patches, window_width
from distax.fitting.refine import find_modes_and_refine
from distax.fitting.tokens import FEATURES, features, read_tokens
from distax.imaging.scenes import ScenePrior, simulate

SENSOR = Sensor(saturation=None, bit_depth=None, read_noise=3.0)
PRIOR = ScenePrior(max_targets=2)
SEARCH = Search(pool=32, starts=3, steps=6)
WIDTH = window_width(SENSOR, PRIOR.cluster)


@jax.jit
def read(images, sensor, prior):
    """The modes of each number of targets, the answers of `refine`, and the tokens."""
    patch = cut_patches(images, sensor, WIDTH)
    pools = sample_pools(prior, SEARCH)
    modes, found = find_modes_and_refine(patch, pools, sensor.psf, prior, SEARCH)
    fits = [best_fit(one, SEARCH.starts) for one in modes]
    return fits, found, read_tokens(patch, modes, found.count, sensor, prior, SEARCH.starts)


@pytest.fixture(scope="module")
def images():
    pixels, truth = simulate(jax.random.key(0), 12, SENSOR, PRIOR)
    assert set(np.asarray(truth.count).tolist()) == {1, 2}
    return pixels


@pytest.fixture(scope="module")
def results(images):
    return read(images, SENSOR, PRIOR)


def test_the_best_mode_is_the_fit_of_refine(results):
    fits, found, tokens = results
    for image, count in enumerate(np.asarray(found.count)):
        fit = fits[count - 1]
        mode = np.argmax(tokens.log_squares[image])
        scene = np.asarray(fit.scene[..., image])
        np.testing.assert_allclose(tokens.position[image, mode, :count], scene[:, :2], rtol=1e-5)
        np.testing.assert_allclose(tokens.intensity[image, mode, :count], scene[:, 2], rtol=1e-5)
        own = np.asarray(fit.covariance[..., image]).reshape(count, 3, count, 3)
        expected = np.stack([own[k, :, k] for k in range(count)])
        unit = np.sqrt(np.einsum("kii->ki", expected))
        scale = unit[:, :, None] * unit[:, None]
        np.testing.assert_allclose(
            tokens.covariance[image, mode, :count] / scale, expected / scale, atol=1e-3
        )
        assert tokens.mask[image].tolist() == [True] * count + [False] * (2 - count)


def test_a_finished_fit_has_no_step_to_go(results):
    tokens = results[2]
    deviation = np.sqrt(np.diagonal(tokens.covariance, axis1=-2, axis2=-1))
    best = np.argmax(tokens.log_squares, axis=1)
    relative = np.abs(tokens.step / deviation)[np.arange(len(best)), best]
    inside = np.abs(tokens.intensity - 235)[np.arange(len(best)), best] < 14.9
    assert np.median(relative[inside]) < 0.01


def test_counts_of_another_unit_give_the_same_features(images, results):
    sensor = replace(SENSOR, read_noise=10 * SENSOR.read_noise)
    prior = replace(PRIOR, min_intensity=2200.0, max_intensity=2500.0)
    scaled = features(read(10 * images, sensor, prior)[2])
    np.testing.assert_allclose(scaled, features(results[2]), atol=2e-3)


def test_features_are_of_order_one_and_know_the_number(results):
    found, tokens = results[1:]
    numbers = np.asarray(features(tokens))
    assert numbers.shape == (12, 3, 2, FEATURES)
    assert np.isfinite(numbers).all()
    assert np.abs(numbers[..., :-6]).max() < 20
    of_count = numbers[:, 0, 0, -6:]
    assert not numbers.swapaxes(1, 2)[~np.asarray(tokens.mask)].any()
    np.testing.assert_array_equal(of_count.argmax(axis=1) + 1, found.count)


def test_an_image_without_light_has_only_padding():
    dark = jnp.zeros((12, *SENSOR.shape))
    _, found, tokens = read(dark, SENSOR, PRIOR)
    assert not np.asarray(found.count).any()
    assert not np.asarray(tokens.mask).any()
    assert np.isfinite(np.asarray(features(tokens))).all()


def test_twins_at_one_place_have_the_priors_errors():
    """Fits of two targets may end at one place, where their matrix is singular to float32."""
    sensor = replace(SENSOR, read_noise=0.02)
    image = render(make_targets(jnp.array([[5.1, 4.9]]), jnp.array([470.0])), sensor)[None]
    tokens = read(image, sensor, replace(PRIOR, separation=0.0))[2]
    assert tokens.mask.all()
    std = np.sqrt(np.diagonal(tokens.covariance, axis1=-2, axis2=-1))
    assert (std > 0).all()
    assert (std <= np.array([1.0, 1.0, 30.0]) / np.sqrt(12) * 1.001).all()
    assert np.isfinite(features(tokens)).all()
