import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from distax import Sensor
from distax.frames.bands import bands
from distax.frames.blobs import signal_to_noise
from distax.frames.sky import measure_sky
from distax.frames.surroundings import (
    correlation,
    longer_tail,
    measure_surroundings,
    ring_level,
    spread_below,
)

SHAPE = (160, 128)


def filtered(image, sigma=0.5):
    return signal_to_noise(image, np.ones_like(image), sigma).ravel()


def test_a_ring_has_the_level_around_a_target_and_not_its_light():
    row, column = np.indices((40, 50))
    slope = 0.3 * row - 0.2 * column
    counts = slope.copy()
    counts[20, 25] += 1000.0
    counts[10, 10:13] = np.nan
    level = ring_level(counts, 0.5)
    inside = np.s_[14:27, 19:32]
    near = np.hypot(row - 20, column - 25) < 2.5
    np.testing.assert_allclose(level[inside][near[inside]], slope[inside][near[inside]], atol=1e-4)
    assert np.isfinite(level).all()
    assert ring_level(np.full((20, 20), np.nan), 0.5).max() == 0.0


def test_correlation_is_that_of_the_filtered_noise_and_one_for_white_noise():
    random = np.random.default_rng(1)
    white = random.standard_normal(SHAPE)
    shuffled = filtered(random.permutation(white.ravel()).reshape(SHAPE))
    assert correlation(filtered(white), shuffled, 0.5) == 1.0
    smooth = gaussian_filter(white, 1.0)
    smooth /= smooth.std()
    found = correlation(filtered(smooth), shuffled, 0.5)
    assert found == pytest.approx(filtered(smooth).std(), rel=0.08)
    assert found > 1.5


def test_patches_of_noise_have_a_longer_tail_than_gaussian_noise():
    random = np.random.default_rng(2)
    white = random.standard_normal(40_000)
    assert longer_tail(white) == pytest.approx(1.0, abs=0.06)
    patches = white * np.where(np.arange(40_000) % 2, 0.6, 1.28)
    assert patches.std() == pytest.approx(1.0, rel=0.01)
    assert longer_tail(patches) > 1.1
    # Sources have no tail below.
    assert longer_tail(np.where(np.arange(40_000) % 50, white, 80.0)) < 1.06
    assert spread_below(white) == pytest.approx(1.0, abs=0.03)


def test_texture_is_measured_where_it_is():
    """Ground of noise 12 under a sky of noise 2, with a target in each."""
    random = np.random.default_rng(3)
    frame = 50 + 2 * random.standard_normal(SHAPE)
    frame[96:] += 12 * random.standard_normal((64, 128))
    frame[40, 60] += 200
    frame[130, 60] += 300
    sky = measure_sky(frame, 64, Sensor(saturation=None, bit_depth=None))
    found = measure_surroundings(sky.read, SHAPE, 0.5)
    (whole,) = bands(SHAPE, SHAPE[0], 0)
    _, noise, _ = sky.read(whole)
    local = noise * found.noise_in(whole)
    assert np.median(local[:80]) == pytest.approx(2.0, rel=0.15)
    assert np.median(local[112:]) == pytest.approx(12.2, rel=0.15)
    assert local[40, 60] == pytest.approx(2.0, rel=0.3)
    even = measure_sky(50 + random.standard_normal(SHAPE), 64, sky.sensor)
    assert measure_surroundings(even.read, SHAPE, 0.5) is None
