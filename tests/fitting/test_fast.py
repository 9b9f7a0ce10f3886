"""Equal physics gives equal answers: what the network for any camera sees has no units."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax import DistaxError, Sensor
from distax.fitting.estimators import FastFit
from distax.imaging.psf import MeasuredPsf
from distax.imaging.scenes import ScenePrior, simulate
from distax.metrics import assign

SENSOR = Sensor(sigma=(0.45, 0.6), saturation=None, bit_depth=None, read_noise=1.0)
PRIOR = ScenePrior(max_targets=2)


@pytest.fixture(scope="module")
def scenes():
    """Images of one and two targets, and the targets."""
    pixels, truth = simulate(jax.random.key(0), 24, SENSOR, PRIOR)
    return np.asarray(pixels), truth


@pytest.fixture(scope="module")
def found(scenes):
    return FastFit()(scenes[0], SENSOR, PRIOR)


def test_its_targets_are_near_the_true_ones_and_in_their_regions(scenes, found):
    pairing = assign(jax.tree.map(jnp.asarray, found), scenes[1])
    distance = np.asarray(pairing.distance)[found.mask]
    np.testing.assert_array_equal(found.count, scenes[1].count)
    assert np.median(distance) < 0.03
    assert np.mean(distance <= found.credible_radius[found.mask][:, 1]) > 0.75
    assert np.isfinite(found.covariance).all()


@pytest.mark.parametrize("unit", [0.01, 10.0, 1e5])
def test_counts_of_another_unit_give_the_same_positions(scenes, found, unit):
    sensor = replace(SENSOR, read_noise=unit)
    prior = replace(PRIOR, min_intensity=220.0 * unit, max_intensity=250.0 * unit)
    scaled = FastFit()(np.float32(unit) * scenes[0], sensor, prior)
    np.testing.assert_allclose(scaled.position, found.position, atol=2e-3)
    np.testing.assert_allclose(scaled.intensity, unit * found.intensity, rtol=1e-3)
    np.testing.assert_allclose(scaled.credible_radius, found.credible_radius, atol=2e-3)


@pytest.mark.parametrize("turn", ["rows mirrored", "columns mirrored", "transposed"])
def test_a_turned_image_gives_the_turned_targets(scenes, found, turn):
    images, sensor = scenes[0], SENSOR
    if turn == "transposed":
        images, sensor = images.swapaxes(1, 2), replace(SENSOR, sigma=SENSOR.sigma[::-1])
    else:
        images = np.flip(images, axis=1 if turn == "rows mirrored" else 2)
    turned = FastFit()(images, sensor, PRIOR)
    position = np.array(turned.position)
    if turn == "transposed":
        position = position[..., ::-1]
    else:
        position[..., 0 if turn == "rows mirrored" else 1] *= -1
        position[..., 0 if turn == "rows mirrored" else 1] += 10
    back = replace(turned, position=position)
    away = assign(jax.tree.map(jnp.asarray, back), jax.tree.map(jnp.asarray, found)).distance
    # The network is trained on turned scenes and is not symmetric by construction.
    assert np.median(np.asarray(away)[found.mask]) < 0.003
    assert np.max(np.asarray(away)[found.mask]) < 0.1


def test_a_measured_psf_serves_like_its_gaussian(scenes, found):
    offset = np.arange(-24, 25) / 8
    line = [np.exp(-0.5 * (offset / sigma) ** 2) for sigma in SENSOR.sigmas]
    # Averaged over a pixel, as a measured PSF is.
    box = np.ones(8) / 8
    line = [np.convolve(one, np.convolve(box, [0.5, 0.5]), "same") for one in line]
    measured = MeasuredPsf.from_samples(np.multiply.outer(*line), 8)
    other = FastFit()(scenes[0], replace(SENSOR, measured_psf=measured), PRIOR)
    np.testing.assert_allclose(
        other.position[..., 0].sum(1), found.position[..., 0].sum(1), atol=0.05
    )


def test_dark_images_have_no_targets_and_missing_pixels_are_left_out(scenes, found):
    images = np.array(scenes[0])
    images[0] = 0.0
    images[1, 10, 10] = np.nan
    again = FastFit()(images, SENSOR, PRIOR)
    assert not again.mask[0].any()
    assert not again.position[0].any()
    np.testing.assert_allclose(again.position[1:], found.position[1:], atol=1e-3)


def test_a_sensor_out_of_the_range_is_named(scenes):
    with pytest.raises(DistaxError, match=r"sigma is 2 px, and the network .* 0.35 to 1.2; "):
        FastFit()(scenes[0], replace(SENSOR, sigma=2.0), PRIOR)
