"""Errors that the joint fit raises; its results are tested with `calibrate`."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from distax import DistaxError, Sensor
from distax.calibration.joint_fit import assign_noise, fit_joint
from distax.calibration.noise import NoiseModel
from distax.fitting.patch import cut_patches

SENSOR = Sensor(sigma=0.6, read_noise=1.0, background=12.0, saturation=None, bit_depth=16)
NOISE = NoiseModel(1.0 + 1 / 12, 0.01)


def fit(windows, round_psf=True):
    return fit_joint(np.asarray(windows), SENSOR, NOISE, True, None, round_psf)


def images(singles, seed, count, sigma, flux=5000.0):
    sensor = replace(SENSOR, sigma=sigma)
    return singles(jax.random.key(seed), count, sensor, dimmest=flux, brightest=flux)[0]


def test_sources_of_several_widths_raise(singles):
    windows = [images(singles, 0, 4, sigma) for sigma in (0.4, 0.6, 0.85)]
    with pytest.raises(DistaxError, match=r"only [0-4] of 12 sources share one PSF; give images"):
        fit(np.concatenate(windows))


def test_a_width_at_a_bound_of_the_fit_raises(singles):
    with pytest.raises(DistaxError, match=r"the PSF's width cannot be measured: .* 0\.20 px"):
        fit(images(singles, 0, 12, 0.15, flux=200.0))


@pytest.mark.parametrize(("rounding", "expected"), [(1 / 12, 1.0), (0.0, 1.0 + 1 / 12)])
def test_assigned_noise_excludes_rounding(singles, rounding, expected):
    patch = cut_patches(images(singles, 0, 1, 0.5), SENSOR, 7)
    patch = replace(patch, rounding=0 * patch.rounding + rounding)
    variance = assign_noise(patch, NOISE, np.zeros(patch.counts.shape)).variance
    np.testing.assert_allclose(variance, expected, rtol=1e-5)
