import warnings
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax import DistaxError, DistaxWarning, Sensor, Unmixer, expose, make_targets, render
from distax.calibration import calibrate
from distax.calibration.noise import NoiseModel
from distax.calibration.pipeline import _check_frames, _warn
from distax.calibration.result import Departure
from distax.imaging.psf import MeasuredPsf
from distax.imaging.scenes import ScenePrior, simulate
from distax.metrics import assign

SENSOR = Sensor(sigma=0.55, read_noise=1.0, gain=4.0, background=12.0, saturation=None)
COUNT = 60


def pull(quantity, truth):
    """Returns the absolute error in stated standard deviations."""
    return abs(quantity.value - truth) / quantity.std


@pytest.fixture(scope="module")
def images(singles):
    return np.array(singles(jax.random.key(0), COUNT, SENSOR)[0])


@pytest.fixture(scope="module")
def frames():
    """Dark frames, and flat fields at two levels."""
    flats = [jnp.full((8, 20, 20), level) for level in (40.0, 150.0)]
    return (
        np.asarray(expose(jax.random.key(1), jnp.zeros((8, 20, 20)), Sensor(read_noise=1.0))),
        [np.asarray(expose(jax.random.key(k), flat, SENSOR)) for k, flat in enumerate(flats)],
    )


@pytest.fixture(scope="module")
def measured(images, frames):
    return calibrate(images, frames[0], frames[1])


def test_every_property_is_measured_within_its_error(measured):
    quantities = measured.quantities
    assert pull(quantities["sigma"], 0.55) < 3
    assert pull(quantities["background"], 12.0) < 4
    assert pull(quantities["read_noise"], 1.0) < 4
    assert pull(quantities["gain"], 4.0) < 4
    assert measured.sensor == replace(
        SENSOR,
        **{k: quantities[k].value for k in ("sigma", "background", "read_noise")},
        gain=quantities["gain"].value,
    )
    assert (measured.used, measured.rejected, measured.crowded) == (COUNT, 0, 0)
    assert measured.misfit == pytest.approx(1.0, abs=0.05)
    assert measured.gaussian
    assert not measured.elongated


def test_each_value_names_its_source(measured, images):
    assert measured.quantities["read_noise"].source.startswith("dark frames")
    assert measured.quantities["gain"].source == "photon transfer"
    alone = calibrate(images).quantities
    assert {alone[k].source for k in ("read_noise", "gain")} == {"residuals of the fit"}
    assert pull(alone["sigma"], 0.55) < 3
    assert pull(alone["gain"], 4.0) < 4


def test_two_close_sources_are_rejected_and_counted(measured, images, frames):
    """Ten windows hold two sources each, which would widen the PSF."""
    host = jnp.full((10, 1, 2), 5.0)
    step = 0.5 * jnp.array([[jnp.cos(a), jnp.sin(a)] for a in jnp.linspace(0, 3, 10)])[:, None]
    pairs = make_targets(
        jnp.concatenate([host - step, host + step], axis=1), jnp.full((10, 2), 110.0)
    )
    close = np.asarray(expose(jax.random.key(5), render(pairs, SENSOR), SENSOR))
    mixed = calibrate(np.concatenate([images[:-10], close]), *frames)
    assert mixed.rejected >= 9
    assert pull(mixed.quantities["sigma"], 0.55) < 3.5


def test_clipped_sources_give_the_same_width(singles, frames):
    sensor = replace(SENSOR, saturation=80.0)
    taken = np.asarray(singles(jax.random.key(6), COUNT, sensor)[0])
    result = calibrate(taken, frames[0])
    assert result.sensor.saturation == 80.0
    assert result.quantities["saturation"].source == "clipped pixels"
    assert pull(result.quantities["sigma"], 0.55) < 3


def test_a_psf_that_is_not_gaussian_warns(singles, frames):
    """A third of the light is in wings of twice the width."""
    _, targets = singles(jax.random.key(7), COUNT, SENSOR)
    light = sum(
        share * render(targets, replace(SENSOR, sigma=sigma))
        for share, sigma in ((0.67, 0.5), (0.33, 1.0))
    )
    with pytest.warns(DistaxWarning, match="the PSF is not Gaussian: .* of its flux"):
        result = calibrate(np.asarray(expose(jax.random.key(8), light, SENSOR)), *frames)
    assert not result.gaussian
    assert result.used > COUNT / 2


def test_an_elongated_psf_warns_and_is_measured_on_request(singles, frames):
    sensor = replace(SENSOR, sigma=(0.5, 0.6))
    taken = np.asarray(singles(jax.random.key(9), COUNT, sensor)[0])
    with pytest.warns(DistaxWarning, match=r"the PSF is elongated: 0\.[45].* over rows"):
        calibrate(taken, *frames)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = calibrate(taken, *frames, elongated=True)
    quantity = result.quantities["sigma"]
    assert np.all(np.abs(np.subtract(quantity.value, (0.5, 0.6))) < 3.5 * np.array(quantity.std))
    assert result.sensor.sigma == quantity.value


def test_sources_of_a_whole_frame_are_found_and_crowded_ones_left_out(frames):
    rows, columns = jnp.meshgrid(jnp.arange(10.0, 190, 20), jnp.arange(10.0, 190, 20))
    place = jnp.stack([rows.ravel(), columns.ravel()], axis=-1)
    place += jax.random.uniform(jax.random.key(1), place.shape, minval=-0.5, maxval=0.5)
    place = jnp.concatenate([place[:COUNT], place[:4] + 4.0])
    sensor = replace(SENSOR, height=200, width=200)
    light = render(make_targets(place, jnp.full(len(place), 200.0)), sensor)
    result = calibrate(np.asarray(expose(jax.random.key(2), light[None], sensor)), *frames)
    assert (result.used + result.rejected, result.crowded) == (COUNT - 4, 8)
    assert pull(result.quantities["sigma"], 0.55) < 3
    assert result.sensor.shape == (11, 11)
    assert result.quantities["height"].source.startswith("assumed")


def test_a_calibrated_sensor_unmixes_as_well_as_the_true_one(measured):
    prior = ScenePrior(max_targets=2, cluster=1.5)
    scenes, targets = simulate(jax.random.key(3), 64, SENSOR, prior)
    errors = []
    for sensor in (SENSOR, measured.sensor):
        found = Unmixer(method="refine", sensor=sensor, prior=prior)(np.asarray(scenes))
        assert np.mean(found.trusted) > 0.8
        pairing = assign(found, targets)
        errors.append(np.median(np.asarray(pairing.distance)[np.asarray(found.mask)]))
    assert errors[1] == pytest.approx(errors[0], rel=0.1)


def test_too_few_sources_raise(images):
    with pytest.raises(DistaxError, match=r"4 isolated sources .* are too few to calibrate from"):
        calibrate(images[:4])
    with pytest.raises(DistaxError, match="no isolated source stands out of the noise"):
        calibrate(np.zeros((3, 11, 11), np.float32))


def no_fit(*_):
    raise AssertionError("the fit began")


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((0, 0), "size: height must be greater than 0, got 0"),
        ((11, -3), "size: width must be greater than 0, got -3"),
        ((10**9, 11), "size: a sensor of 11,000,000,000 pixels"),
    ],
)
def test_a_size_that_no_sensor_has_is_refused_before_the_fit(images, monkeypatch, size, message):
    monkeypatch.setattr("distax.calibration.pipeline.find_limits", no_fit)
    with pytest.raises(DistaxError, match=message):
        calibrate(images, size=size)


@pytest.mark.parametrize("name", ["images", "dark", "flats"])
def test_counts_that_no_sensor_delivers_are_named(images, name):
    wrong = np.array(images, np.float32)
    wrong[0] = np.nan
    wrong[2, 3, 4] = 1e30
    arrays = {"images": images, name: [wrong] if name == "flats" else wrong}
    with pytest.raises(DistaxError, match=rf"{name}: image 2 reads 1e\+30 at pixel \(3, 4\), wh"):
        calibrate(**arrays)


def test_arrays_without_images_raise(images):
    unknown = np.full((6, 11, 11), np.nan, np.float32)
    for wrong, message in (
        ({"images": unknown}, "no pixel of images is known"),
        ({"images": images[:0]}, r"images must have three axes.* shape \(0, 11, 11\)"),
        ({"images": images, "dark": unknown}, "no pixel of dark is known"),
        ({"images": images, "flats": [images[0]]}, r"flats must have three axes.* \(11, 11\)"),
    ):
        with pytest.raises(DistaxError, match=message):
            calibrate(**wrong)


def test_images_without_a_known_pixel_are_left_out(images):
    """Infinite pixels become NaN, and whole numbers float32."""
    unknown = np.full((1, 11, 11), np.inf, np.float32)
    known = _check_frames("images", np.concatenate([images[:6], unknown]))
    np.testing.assert_array_equal(known, images[:6])
    assert np.isnan(_check_frames("images", np.float32([[[np.inf, 1.0]]]))).tolist() == [
        [[True, False]]
    ]
    stored = _check_frames("images", images[:6].astype(np.uint16))
    np.testing.assert_array_equal(stored, images[:6])
    assert stored.dtype == np.float32


@pytest.mark.parametrize("psf", [None, MeasuredPsf.from_samples(np.outer(*2 * [np.hanning(9)]), 2)])
def test_warnings_depend_on_the_psf(measured, psf):
    """A measured PSF need not be a round Gaussian; an electronic offset always warns."""
    odd = replace(
        measured,
        sensor=replace(measured.sensor, measured_psf=psf),
        widths=(0.5, 0.6),
        departures=[Departure(0.0, 1.0, 0.01, 0.001)],
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _warn(odd, elongated=False, noise=NoiseModel(-1.0, 0.01))
    starts = [str(warning.message)[:12] for warning in caught]
    gaussian = ["the PSF is n", "the PSF is e"] if psf is None else []
    assert starts == [*gaussian, "the counts h"]
