"""Joint fits of targets whose light overlaps, without noise or with a known one."""

import jax.numpy as jnp
import numpy as np

from distax import Sensor, make_targets, render
from distax.frames.crowd import is_crowd
from distax.frames.joint import fit_jointly
from distax.frames.light import Ground, light_of
from distax.frames.sky import measure_sky

SHAPE, NOISE = (40, 30), 2.0
SENSOR = Sensor(*SHAPE, sigma=(1.2, 1.0), saturation=None, bit_depth=None)
POSITION = np.array([[12.3, 10.2], [13.6, 11.9], [13.1, 14.8], [30.4, 20.7]])
INTENSITY = np.array([3000.0, 800.0, 1500.0, 600.0])


def image():
    targets = make_targets(jnp.float32(POSITION), jnp.float32(INTENSITY))
    return np.asarray(render(targets, SENSOR), np.float64)


def ground(counts):
    pixels = SHAPE[0] * SHAPE[1]
    return Ground(
        shape=SHAPE,
        pixel=np.arange(pixels),
        counts=counts.ravel(),
        noise=np.full(pixels, NOISE),
        clipped=np.zeros(pixels, bool),
    )


def test_the_light_of_targets_is_their_image():
    light = light_of(POSITION, INTENSITY, ground(image()), SENSOR)
    np.testing.assert_allclose(light.total(ground(image())), image().ravel(), atol=0.01)
    centre = np.array([[12, 10], [30, 20]])
    own = light.own(np.array([0, 0, 0, 1]), centre, 9)
    np.testing.assert_allclose(own[1], image()[26:35, 16:25], atol=0.01)
    np.testing.assert_allclose(own[0], image()[8:17, 6:15], atol=0.01)


def test_a_joint_fit_finds_overlapping_targets_and_the_errors_of_a_single_one():
    start = POSITION + np.array([[0.3, -0.2], [0.2, 0.3], [-0.3, 0.1], [0.2, 0.2]])
    joint = fit_jointly(start, 0.8 * INTENSITY, ground(image()), SENSOR, 12)
    np.testing.assert_allclose(joint.position, POSITION, atol=2e-3)
    np.testing.assert_allclose(joint.intensity, INTENSITY, rtol=2e-3)
    lone = make_targets(jnp.float32(POSITION[3:]), jnp.float32([1.0]))
    power = np.sum(np.asarray(render(lone, SENSOR)) ** 2)
    np.testing.assert_allclose(joint.significance[3], 600 * np.sqrt(power) / NOISE, rtol=1e-3)
    # Targets that overlap are known less well than they would be alone.
    alone = fit_jointly(POSITION[:1], INTENSITY[:1], ground(image()), SENSOR, 0)
    assert joint.covariance[0, 2, 2] > 1.3 * alone.covariance[0, 2, 2]


def test_a_crowd_is_told_from_noise_and_clouds():
    rng = np.random.default_rng(2)
    camera = Sensor(sigma=1.3, saturation=None, bit_depth=None)
    noise = rng.standard_normal((128, 128))
    place, flux = rng.uniform(0, 128, (500, 2)), 1 / rng.uniform(2e-4, 2e-2, 500)
    sensor = Sensor(height=128, width=128, sigma=1.3)
    stars = np.asarray(render(make_targets(jnp.float32(place), jnp.float32(flux)), sensor))
    row, column = np.indices((128, 128))
    clouds = np.exp(np.sin(row / 9 + np.sin(column / 13)) + np.sin(column / 7)) * 20
    found = [
        is_crowd(measure_sky(100 + noise + some, 64, camera), 1.3) for some in (stars, 0, clouds)
    ]
    assert found == [True, False, False]
