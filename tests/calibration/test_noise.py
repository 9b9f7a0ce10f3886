import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax import DistaxError, Sensor, expose
from distax.calibration.noise import (
    _moments,
    dark_noise,
    find_limits,
    fitted_line,
    noise_level,
    photon_transfer,
)

SHAPE = (30, 40)
RNG = np.random.default_rng(0)
LIGHT = RNG.exponential(40.0, (20, 11, 11)) + 5


def frames(level, count, sensor, seed=0):
    return np.asarray(expose(jax.random.key(seed), jnp.full((count, *SHAPE), float(level)), sensor))


def read_noise(line):
    return np.sqrt(max(line.at_zero - 1 / 12, 0.0))


@pytest.mark.parametrize(("noise", "gain"), [(0.5, 2.0), (1.5, 0.8), (3.0, 6.0)])
def test_photon_transfer_finds_gain_and_read_noise(noise, gain):
    sensor = Sensor(read_noise=noise, gain=gain, bit_depth=12, saturation=None)
    scenes = [frames(level, 6, sensor, level) for level in (30, 80, 200)]
    line = photon_transfer(scenes, sensor.white, digital=True)
    assert abs(line.per_count - 1 / gain) < 3 * line.per_count_std
    assert line.per_count_std < 0.05 / gain
    assert abs(line.at_zero - (noise**2 + 1 / 12)) < 3 * line.at_zero_std


def test_a_scene_of_many_levels_is_enough_and_a_drift_does_no_harm():
    sensor = Sensor(read_noise=1.0, gain=3.0, bit_depth=12, saturation=None)
    scene = jnp.linspace(20, 220, SHAPE[0] * SHAPE[1]).reshape(SHAPE)
    drift = 1 + jnp.linspace(0, 0.1, 20)[:, None, None]
    taken = np.asarray(expose(jax.random.key(1), scene * drift, sensor))
    line = photon_transfer([taken], sensor.white, digital=True)
    assert 1 / line.per_count == pytest.approx(3.0, rel=0.05)


def test_stated_errors_are_true():
    """Pulls of many small sets of frames have the spread of a normal distribution."""
    rng = np.random.default_rng(0)
    pulls = []
    for _ in range(200):
        level = rng.uniform(5, 200, 300)
        squares = (4.0 + level / 2) * rng.chisquare(3, 300)
        line = fitted_line(level, squares, np.full(300, 3.0))
        pulls.append(
            [(line.at_zero - 4) / line.at_zero_std, (line.per_count - 0.5) / line.per_count_std]
        )
    np.testing.assert_allclose(np.std(pulls, axis=0), 1.0, atol=0.2)
    np.testing.assert_allclose(np.mean(pulls, axis=0), 0.0, atol=0.3)


def test_without_shot_noise_there_is_no_slope():
    sensor = Sensor(read_noise=2.0)
    line = photon_transfer([frames(k, 5, sensor, k) for k in (40, 160)], 255.0, digital=True)
    assert line.per_count == 0.0
    assert read_noise(line) == pytest.approx(2.0, rel=0.02)


def test_clipped_pixels_are_left_out():
    sensor = Sensor(read_noise=1.0, gain=1.0)
    scene = jnp.where(jnp.arange(SHAPE[1]) < 5, 400.0, jnp.linspace(20, 120, SHAPE[1]))
    taken = expose(jax.random.key(2), jnp.broadcast_to(scene, (20, *SHAPE)), sensor)
    line = photon_transfer([np.asarray(taken)], sensor.white, digital=True)
    assert 1 / line.per_count == pytest.approx(1.0, rel=0.1)


@pytest.mark.parametrize("noise", [0.6, 1.5, 3.0])
@pytest.mark.parametrize("level", [0.0, 0.8])
def test_dark_frames_cut_off_at_zero_tell_the_whole_noise(noise, level):
    line, source = dark_noise(frames(level, 8, Sensor(read_noise=noise)), digital=True)
    assert source == "dark frames, cut off at zero"
    assert read_noise(line) == pytest.approx(noise, rel=0.05)


def test_dark_frames_above_zero_tell_noise_and_level():
    sensor = Sensor(read_noise=2.0, background=30.0)
    line, source = dark_noise(frames(0, 10, sensor), digital=True)
    assert (source, line.dark) == ("dark frames", pytest.approx(30.0, abs=0.1))
    assert abs(line.at_zero - (4 + 1 / 12)) < 4 * line.at_zero_std
    single, source = dark_noise(frames(0, 1, sensor), digital=True)
    assert source.startswith("one dark frame")
    assert read_noise(single) == pytest.approx(2.0, rel=0.1)


def test_dark_frames_without_noise():
    line, _ = dark_noise(np.zeros((3, *SHAPE), np.float32), digital=True)
    assert read_noise(line) == 0.0


@pytest.mark.parametrize("background", [0.0, 30.0])
@pytest.mark.parametrize("count", [1, 8])
def test_hot_pixels_of_dark_frames_do_not_count(background, count):
    sensor = Sensor(read_noise=1.5, background=background, saturation=None, bit_depth=12)
    taken = frames(0, count, sensor)
    line, _ = dark_noise(taken, digital=True)
    hot = taken.copy()
    for place, counts in enumerate((40.0, 200.0, 4000.0)):
        hot[:, place, 7] += counts
    hot[0, 9, 9] = np.nan
    found, _ = dark_noise(hot, digital=True)
    assert read_noise(found) == pytest.approx(read_noise(line), rel=0.01)
    assert found.dark == pytest.approx(line.dark, abs=0.01)


def test_a_gaussian_between_two_edges_far_from_its_mean():
    """Against the same integrals by quadrature."""
    low, high = np.array([-np.inf, -2.0, 0.5, 60.0]), np.array([0.5, -1.0, 1.5, 61.0])
    first, second = _moments(low, high, 0.3, 1.2)
    for k, (start, stop) in enumerate(zip(np.maximum(low, -40.0), high, strict=True)):
        edges = np.linspace(start, stop, 100_001)
        middle = (edges[1:] + edges[:-1]) / 2
        exponent = -((middle - 0.3) ** 2) / (2 * 1.2**2)
        weights = np.exp(exponent - exponent.max())
        assert first[k] == pytest.approx(np.average(middle, weights=weights), rel=1e-6)
        assert second[k] == pytest.approx(np.average(middle**2, weights=weights), rel=1e-6)


def test_what_tells_nothing_is_refused():
    with pytest.raises(DistaxError, match="at least two frames of the same scene"):
        photon_transfer([frames(50, 1, Sensor(read_noise=1.0))], 255.0, digital=True)
    with pytest.raises(DistaxError, match="every pixel of the repeated frames clips"):
        photon_transfer([frames(400, 3, Sensor(read_noise=1.0))], 255.0, digital=True)
    with pytest.raises(DistaxError, match="no pixel of the dark frames is always known"):
        dark_noise(np.full((2, *SHAPE), np.nan), digital=False)


@pytest.mark.parametrize(
    ("counts", "bits", "well", "white"),
    [
        (np.minimum(np.round(LIGHT), 255), 8, 255.0, 255),
        (np.minimum(np.round(LIGHT), 120), 8, 120.0, 120),
        (np.minimum(np.round(100 * LIGHT), 4095), 12, 4095.0, 4095),
        (np.minimum(np.round(100 * LIGHT), 5000), 16, 5000.0, 5000),
        (np.round(1000 * LIGHT[:5]), 19, None, 2**19 - 1),
        (np.round(LIGHT[LIGHT < 250]).reshape(1, 1, -1), 8, None, 255),
        (np.minimum(LIGHT, 90.5), None, 90.5, 90.5),
        (LIGHT, None, None, np.inf),
        (np.round(LIGHT) - 20, None, None, np.inf),
        (np.full((5, 11, 11), 2.0), 8, None, 255),
    ],
)
def test_rounding_and_clipping_are_seen(counts, bits, well, white):
    limits = find_limits(counts.astype(np.float32))
    assert (limits.bit_depth, limits.saturation) == (bits, well)
    assert (limits.digital, limits.white) == (bits is not None, white)


def test_pixels_that_are_nan_say_nothing():
    counts = np.round(LIGHT).clip(0, 200).astype(np.float32)
    counts[:, 0] = np.nan
    assert find_limits(counts).saturation == 200.0


def test_the_noise_is_seen_beside_sources_and_zeros(blob_frame):
    rng = np.random.default_rng(1)
    images = np.stack([blob_frame((10, 10), (30, 40), noise=3.0)] * 4)
    assert noise_level(images, digital=False) == pytest.approx(3.0, rel=0.1)
    cut_off = np.maximum(np.round(rng.normal(0.0, 3.0, (10, 40, 40))), 0)
    assert noise_level(cut_off, digital=True) == pytest.approx(3.0, rel=0.25)
    assert noise_level(np.zeros((2, 9, 9)), digital=True) == pytest.approx(12**-0.5)


def test_real_numbers_may_be_small(blob_frame):
    images = 1e-6 * np.stack([blob_frame((10, 10), noise=3.0)])
    assert noise_level(images, digital=False) == pytest.approx(3e-6, rel=0.1)
