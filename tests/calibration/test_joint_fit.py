"""What the rounds refuse; what they find is tested with `calibrate`."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from distax import DistaxError, Sensor
from distax.calibration.joint_fit import AROUND, joint_fit, with_noise
from distax.calibration.noise import Line
from distax.fitting.patch import cut

SENSOR = Sensor(sigma=0.6, read_noise=1.0, background=12.0, saturation=None, bit_depth=16)
LINE = Line(1.0 + 1 / 12, 0.01)


def fit(crops, round_psf=True):
    return joint_fit(np.asarray(crops), SENSOR, LINE, True, None, round_psf)


def images(singles, seed, count, sigma, flux=5000.0):
    sensor = replace(SENSOR, sigma=sigma)
    return singles(jax.random.key(seed), count, sensor, dimmest=flux, brightest=flux)[0]


def test_sources_of_several_widths_share_no_psf(singles):
    crops = [images(singles, 0, 4, sigma) for sigma in (0.4, 0.6, 0.85)]
    with pytest.raises(DistaxError, match=r"only [0-4] of 12 sources share one PSF; give images"):
        fit(np.concatenate(crops))


def test_a_width_at_the_end_of_those_looked_for_is_no_measurement(singles):
    with pytest.raises(DistaxError, match=r"the PSF's width cannot be told: .* 0\.20 px"):
        fit(images(singles, 0, 12, 0.15, flux=200.0))


@pytest.mark.parametrize(("rounding", "left"), [(1 / 12, 1.0), (0.0, 1.0 + 1 / 12)])
def test_the_noise_of_pixels_is_without_their_rounding(singles, rounding, left):
    patch = cut(images(singles, 0, 1, 0.5), SENSOR, AROUND)
    patch = replace(patch, rounding=0 * patch.rounding + rounding)
    variance = with_noise(patch, LINE, np.zeros(patch.counts.shape)).variance
    np.testing.assert_allclose(variance, left, rtol=1e-5)
