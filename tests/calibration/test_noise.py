import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax import DistaxError, Sensor, expose
from distax.calibration.noise import (
    _truncated_moments,
    estimate_background_noise,
    find_limits,
    fit_noise_model,
    fit_photon_transfer,
    measure_dark_noise,
)

SHAPE = (30, 40)
RNG = np.random.default_rng(0)
LIGHT = RNG.exponential(40.0, (20, 11, 11)) + 5


def frames(level, count, sensor, seed=0):
    return np.asarray(expose(jax.random.key(seed), jnp.full((count, *SHAPE), float(level)), sensor))


def read_noise(model):
    return np.sqrt(max(model.intercept - 1 / 12, 0.0))


@pytest.mark.parametrize(("noise", "gain"), [(0.5, 2.0), (1.5, 0.8), (3.0, 6.0)])
def test_photon_transfer_finds_gain_and_read_noise(noise, gain):
    sensor = Sensor(read_noise=noise, gain=gain, bit_depth=12, saturation=None)
    flats = [frames(level, 6, sensor, level) for level in (30, 80, 200)]
    model = fit_photon_transfer(flats, sensor.clip_level, digital=True)
    assert abs(model.slope - 1 / gain) < 3 * model.slope_std
    assert model.slope_std < 0.05 / gain
    assert abs(model.intercept - (noise**2 + 1 / 12)) < 3 * model.intercept_std


def test_one_scene_of_many_levels_suffices_despite_a_drift():
    sensor = Sensor(read_noise=1.0, gain=3.0, bit_depth=12, saturation=None)
    scene = jnp.linspace(20, 220, SHAPE[0] * SHAPE[1]).reshape(SHAPE)
    drift = 1 + jnp.linspace(0, 0.1, 20)[:, None, None]
    taken = np.asarray(expose(jax.random.key(1), scene * drift, sensor))
    model = fit_photon_transfer([taken], sensor.clip_level, digital=True)
    assert 1 / model.slope == pytest.approx(3.0, rel=0.05)


def test_stated_errors_match_the_spread():
    """Pulls of many small sets of frames have the spread of a normal distribution."""
    rng = np.random.default_rng(0)
    pulls = []
    for _ in range(200):
        level = rng.uniform(5, 200, 300)
        squares = (4.0 + level / 2) * rng.chisquare(3, 300)
        model = fit_noise_model(level, squares, np.full(300, 3.0))
        pulls.append(
            [(model.intercept - 4) / model.intercept_std, (model.slope - 0.5) / model.slope_std]
        )
    np.testing.assert_allclose(np.std(pulls, axis=0), 1.0, atol=0.2)
    np.testing.assert_allclose(np.mean(pulls, axis=0), 0.0, atol=0.3)


def test_the_slope_is_zero_without_shot_noise():
    sensor = Sensor(read_noise=2.0)
    model = fit_photon_transfer([frames(k, 5, sensor, k) for k in (40, 160)], 255.0, digital=True)
    assert model.slope == 0.0
    assert read_noise(model) == pytest.approx(2.0, rel=0.02)


def test_clipped_pixels_are_left_out():
    sensor = Sensor(read_noise=1.0, gain=1.0)
    scene = jnp.where(jnp.arange(SHAPE[1]) < 5, 400.0, jnp.linspace(20, 120, SHAPE[1]))
    taken = expose(jax.random.key(2), jnp.broadcast_to(scene, (20, *SHAPE)), sensor)
    model = fit_photon_transfer([np.asarray(taken)], sensor.clip_level, digital=True)
    assert 1 / model.slope == pytest.approx(1.0, rel=0.1)


@pytest.mark.parametrize("noise", [0.6, 1.5, 3.0])
@pytest.mark.parametrize("level", [0.0, 0.8])
def test_dark_frames_cut_off_at_zero_give_the_full_noise(noise, level):
    model, source = measure_dark_noise(frames(level, 8, Sensor(read_noise=noise)), digital=True)
    assert source == "dark frames, cut off at zero"
    assert read_noise(model) == pytest.approx(noise, rel=0.05)


def test_dark_frames_above_zero_give_noise_and_level():
    sensor = Sensor(read_noise=2.0, background=30.0)
    model, source = measure_dark_noise(frames(0, 10, sensor), digital=True)
    assert (source, model.dark_level) == ("dark frames", pytest.approx(30.0, abs=0.1))
    assert abs(model.intercept - (4 + 1 / 12)) < 4 * model.intercept_std
    single, source = measure_dark_noise(frames(0, 1, sensor), digital=True)
    assert source.startswith("one dark frame")
    assert read_noise(single) == pytest.approx(2.0, rel=0.1)


def test_dark_frames_without_noise_give_none():
    model, _ = measure_dark_noise(np.zeros((3, *SHAPE), np.float32), digital=True)
    assert read_noise(model) == 0.0


@pytest.mark.parametrize("background", [0.0, 30.0])
@pytest.mark.parametrize("count", [1, 8])
def test_hot_pixels_of_dark_frames_are_left_out(background, count):
    sensor = Sensor(read_noise=1.5, background=background, saturation=None, bit_depth=12)
    taken = frames(0, count, sensor)
    model, _ = measure_dark_noise(taken, digital=True)
    hot = taken.copy()
    for place, counts in enumerate((40.0, 200.0, 4000.0)):
        hot[:, place, 7] += counts
    hot[0, 9, 9] = np.nan
    found, _ = measure_dark_noise(hot, digital=True)
    assert read_noise(found) == pytest.approx(read_noise(model), rel=0.01)
    assert found.dark_level == pytest.approx(model.dark_level, abs=0.01)


def test_truncated_moments_match_quadrature_far_from_the_mean():
    low, high = np.array([-np.inf, -2.0, 0.5, 60.0]), np.array([0.5, -1.0, 1.5, 61.0])
    first, second = _truncated_moments(low, high, 0.3, 1.2)
    for k, (start, stop) in enumerate(zip(np.maximum(low, -40.0), high, strict=True)):
        edges = np.linspace(start, stop, 100_001)
        middle = (edges[1:] + edges[:-1]) / 2
        exponent = -((middle - 0.3) ** 2) / (2 * 1.2**2)
        weights = np.exp(exponent - exponent.max())
        assert first[k] == pytest.approx(np.average(middle, weights=weights), rel=1e-6)
        assert second[k] == pytest.approx(np.average(middle**2, weights=weights), rel=1e-6)


def test_frames_that_do_not_constrain_the_noise_raise():
    with pytest.raises(DistaxError, match="at least two frames of the same scene"):
        fit_photon_transfer([frames(50, 1, Sensor(read_noise=1.0))], 255.0, digital=True)
    with pytest.raises(DistaxError, match="every pixel of the repeated frames clips"):
        fit_photon_transfer([frames(400, 3, Sensor(read_noise=1.0))], 255.0, digital=True)
    with pytest.raises(DistaxError, match="no pixel of the dark frames is known in all of them"):
        measure_dark_noise(np.full((2, *SHAPE), np.nan), digital=False)
    pattern = np.broadcast_to(LIGHT[0], (3, 11, 11))
    for same in (np.full((6, 11, 11), 5.0), pattern):
        with pytest.raises(DistaxError, match="flats: the frames of each scene are equal"):
            fit_photon_transfer([same, same[:2]], 255.0, digital=True)
        with pytest.raises(DistaxError, match="dark: all frames are equal"):
            measure_dark_noise(same, digital=False)
    with pytest.raises(DistaxError, match="dark: all frames are equal"):
        measure_dark_noise(np.full((1, *SHAPE), 0.1), digital=False)
    assert read_noise(measure_dark_noise(np.full((6, 11, 11), 5.0), digital=True)[0]) == 0.0


@pytest.mark.parametrize("level", [5.0, 100.0])
def test_noise_at_one_level_alone_tells_no_gain(level):
    """Intercept and slope cannot be told apart: the matrix is singular but for rounding."""
    model = fit_noise_model(np.full(121, level), np.zeros(121), np.full(121, 3.57))
    assert (model.intercept, model.slope, model.slope_std) == (0.0, 0.0, np.inf)


@pytest.mark.parametrize(
    ("counts", "bits", "saturation", "clip_level"),
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
def test_rounding_and_clipping_are_recognised(counts, bits, saturation, clip_level):
    limits = find_limits(counts.astype(np.float32))
    assert (limits.bit_depth, limits.saturation) == (bits, saturation)
    assert (limits.digital, limits.clip_level) == (bits is not None, clip_level)


def test_limits_ignore_nan_pixels():
    counts = np.round(LIGHT).clip(0, 200).astype(np.float32)
    counts[:, 0] = np.nan
    assert find_limits(counts).saturation == 200.0


def test_background_noise_ignores_sources_and_zeros(blob_frame):
    rng = np.random.default_rng(1)
    images = np.stack([blob_frame((10, 10), (30, 40), noise=3.0)] * 4)
    assert estimate_background_noise(images, digital=False) == pytest.approx(3.0, rel=0.1)
    cut_off = np.maximum(np.round(rng.normal(0.0, 3.0, (10, 40, 40))), 0)
    assert estimate_background_noise(cut_off, digital=True) == pytest.approx(3.0, rel=0.25)
    assert estimate_background_noise(np.zeros((2, 9, 9)), digital=True) == pytest.approx(12**-0.5)


def test_background_noise_of_small_real_numbers(blob_frame):
    images = 1e-6 * np.stack([blob_frame((10, 10), noise=3.0)])
    assert estimate_background_noise(images, digital=False) == pytest.approx(3e-6, rel=0.1)
