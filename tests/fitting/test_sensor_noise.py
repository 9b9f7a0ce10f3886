from dataclasses import replace

import numpy as np
import pytest

from distax import Sensor
from distax.fitting.sensor_equations import Residuals
from distax.fitting.sensor_noise import fit_noise, seen_saturation
from distax.imaging.sensor import ROUNDING_VARIANCE

CAMERA = Sensor(read_noise=1.0, background=10.0)


def draw_residuals(read_noise, gain, freedom=0.8, pixels=40_000):
    """Residuals of a fit that takes the same share of the degrees of freedom from every pixel."""
    random = np.random.default_rng(0)
    level = random.uniform(10, 200, (1, pixels))
    variance = read_noise**2 + level / gain + ROUNDING_VARIANCE
    return Residuals(
        squares=freedom * variance * random.standard_normal(level.shape) ** 2,
        freedom=np.full(level.shape, freedom),
        level=level,
    )


def test_read_noise_is_what_the_degrees_of_freedom_make_of_the_residuals():
    noise = fit_noise(draw_residuals(2.0, np.inf), replace(CAMERA, read_noise=2.0))
    assert abs(noise.sensor.read_noise - 2.0) < 3 * noise.std["read_noise"]
    # The standard deviation of √v from n squares is √(v/2n); rounding adds 2% to the variance.
    assert noise.std["read_noise"] == pytest.approx(2.0 / np.sqrt(2 * 0.8 * 40_000), rel=0.03)
    assert noise.changed("read_noise", CAMERA)
    assert not noise.changed("read_noise", noise.sensor)


def test_read_noise_and_gain_are_told_apart_by_the_level():
    told = replace(CAMERA, gain=4.0)
    noise = fit_noise(draw_residuals(3.0, 2.0), replace(told, gain=2.0, read_noise=3.0))
    assert abs(noise.sensor.gain - 2.0) < 3 * noise.std["gain"]
    assert abs(noise.sensor.read_noise - 3.0) < 3 * noise.std["read_noise"]
    assert noise.std["gain"] < 0.1
    assert noise.changed("gain", told)


def test_residuals_smaller_than_rounding_mean_no_read_noise():
    residuals = draw_residuals(0.0, np.inf)
    smaller = replace(residuals, squares=0.9 * residuals.squares)
    noise = fit_noise(smaller, replace(CAMERA, read_noise=0.0))
    assert noise.sensor.read_noise == 0.0
    assert not noise.changed("read_noise", replace(CAMERA, read_noise=0.0))


def test_without_degrees_of_freedom_the_noise_stays():
    noise = fit_noise(draw_residuals(2.0, np.inf, pixels=40), CAMERA)
    assert noise.sensor == CAMERA
    assert not noise.changed("read_noise", CAMERA)


@pytest.mark.parametrize(("clipped", "saturation"), [(20, 180.0), (3, 255.0)])
def test_a_pile_of_largest_counts_is_a_saturation(clipped, saturation):
    images = np.arange(180.0, dtype=np.float32).repeat(4).reshape(20, 6, 6)
    images[0].flat[:clipped] = 180.0
    assert seen_saturation(images, CAMERA) == saturation


def test_a_clip_level_that_pixels_reach_stays():
    images = np.full((4, 3, 3), 255.0, np.float32)
    assert seen_saturation(images, replace(CAMERA, saturation=None)) is None
