import numpy as np
import pytest

from distax import DistaxError
from distax.frames.background import _CLIPPED_STD, measure_background
from distax.frames.bands import bands

SHAPE = (150, 210)
NOISE = 2.0


def plane(shape=SHAPE):
    row, column = np.indices(shape)
    return 100 + 0.05 * row + 0.03 * column


@pytest.fixture(scope="module")
def noise():
    return NOISE * np.random.default_rng(0).standard_normal(SHAPE)


def level_of(background):
    (whole,) = bands(background.shape, background.shape[0], 0)
    return background.level_in(whole), background.noise_in(whole)


def test_a_gradient_and_noise_are_measured_to_the_edge(noise):
    level, spread = level_of(measure_background(plane() + noise, 64))
    # The mean of a box of 50×53 pixels has an error of σ/51; beyond the outer centres it doubles.
    np.testing.assert_allclose(level, plane(), atol=8 * NOISE / 51)
    np.testing.assert_allclose(spread, NOISE, rtol=0.06)


def test_blobs_bad_pixels_and_a_dead_corner_do_not_bias(noise):
    frame = 100 + noise
    frame[20:140:15, 10:200:15] += 300.0
    frame[5::29, 7::31] = np.nan
    frame[6::29, 8::31] = np.inf
    frame[:60, :60] = np.nan
    level, spread = level_of(measure_background(frame, 64))
    np.testing.assert_allclose(level, 100.0, atol=8 * NOISE / 51)
    np.testing.assert_allclose(spread, NOISE, rtol=0.08)


def test_the_clipping_correction_is_a_fixed_point():
    from scipy.stats import norm

    t = 3.0 * _CLIPPED_STD
    left = np.sqrt(1 - 2 * t * norm.pdf(t) / (2 * norm.cdf(t) - 1))
    assert left == pytest.approx(_CLIPPED_STD, abs=3e-4)


def test_bands_match_the_map_of_the_whole_frame(noise):
    background = measure_background(plane() + noise, 64)
    level, spread = level_of(background)
    for band in bands(SHAPE, 40, 7):
        rows = slice(band.start, band.stop)
        np.testing.assert_allclose(background.level_in(band), level[rows], rtol=1e-6)
        np.testing.assert_allclose(background.noise_in(band), spread[rows], rtol=1e-6)


def test_a_frame_without_known_pixels_raises():
    with pytest.raises(DistaxError, match="NaN or infinite"):
        measure_background(np.full(SHAPE, np.nan), 64)
