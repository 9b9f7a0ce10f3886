from dataclasses import replace

import jax
import numpy as np
import pytest

from distax import DistaxError, Sensor
from distax.fitting import self_calibration
from distax.fitting.self_calibration import fit_sensor
from distax.fitting.sensor_rounds import FEWEST_IMAGES
from distax.imaging.scenes import ScenePrior, simulate
from distax.runtime.errors import DistaxWarning

PRIOR = ScenePrior(max_targets=3)
CAMERA = Sensor(read_noise=2.0, background=10.0)
"""All sensors here have its structure, so that they share one compiled program."""


def expose_scenes(sensor, count=128, seed=0, prior=PRIOR):
    return np.asarray(simulate(jax.random.key(seed), count, sensor, prior)[0])


@pytest.fixture(scope="module")
def images():
    return expose_scenes(CAMERA)


@pytest.mark.parametrize("told", [0.55, 0.45])
def test_a_wrong_sigma_is_corrected_without_noise(told):
    truth = Sensor()
    fitted = fit_sensor(expose_scenes(truth), replace(truth, sigma=told), PRIOR)
    error, std = np.array(fitted.sensor.sigma) - 0.5, np.array(fitted.std["sigma"])
    assert (np.abs(error) < 0.005).all()
    assert (np.abs(error) < 4 * std).all()
    assert (std < 0.001).all()
    assert fitted.sensor.read_noise == 0.0
    assert fitted.images == 128


@pytest.mark.parametrize("told", [0.55, 0.45])
def test_sigma_background_and_read_noise_are_corrected_together(images, told):
    wrong = replace(CAMERA, sigma=told, background=13.0, read_noise=1.0)
    fitted = fit_sensor(images, wrong, PRIOR)
    error, std = np.array(fitted.sensor.sigma) - 0.5, np.array(fitted.std["sigma"])
    assert (np.abs(error) < 0.005).all()
    assert (np.abs(error) < 4 * std).all()
    assert abs(fitted.sensor.background - 10.0) < min(0.3, 4 * fitted.std["background"])
    assert abs(fitted.sensor.read_noise - 2.0) < 0.2
    assert fitted.kept == ()


def test_an_elongated_psf_is_found_from_a_round_one():
    truth = replace(CAMERA, sigma=(0.55, 0.48))
    fitted = fit_sensor(expose_scenes(truth, seed=1), replace(truth, sigma=0.5), PRIOR)
    np.testing.assert_allclose(fitted.sensor.sigma, truth.sigma, rtol=0.015)


def test_a_right_read_noise_is_kept_and_named(images):
    """Images of another seed may differ by chance: two standard deviations are one in twenty."""
    fitted = fit_sensor(images, replace(CAMERA, saturation=255.0), PRIOR)
    assert abs(fitted.sensor.read_noise - 2.0) < 0.1
    assert ("read_noise" in fitted.kept) == (fitted.sensor.read_noise == 2.0)


def test_the_gain_is_fitted_where_the_sensor_has_one():
    truth = replace(CAMERA, gain=2.0)
    fitted = fit_sensor(expose_scenes(truth, 256), replace(truth, gain=4.0), PRIOR)
    assert abs(fitted.sensor.gain - 2.0) < min(0.4, 4 * fitted.std["gain"])


def test_a_saturation_is_found_where_many_pixels_share_the_largest_count():
    truth = replace(CAMERA, saturation=200.0)
    fitted = fit_sensor(expose_scenes(truth), replace(truth, saturation=255.0), PRIOR)
    assert fitted.sensor.saturation == 200.0
    assert "saturation" not in fitted.kept


def test_a_saturation_that_no_pixel_reaches_is_kept_and_named():
    truth = replace(CAMERA, bit_depth=16, saturation=4000.0)
    fitted = fit_sensor(expose_scenes(truth), truth, PRIOR)
    assert fitted.sensor.saturation == 4000.0
    assert "saturation" in fitted.kept


def test_a_sigma_that_the_images_do_not_determine_is_kept_and_named():
    """All light of these targets falls into one pixel, whatever the width of so small a PSF."""
    prior = ScenePrior(max_targets=1, cluster=0.2)
    truth = replace(CAMERA, sigma=0.08)
    fitted = fit_sensor(
        expose_scenes(truth, 64, prior=prior), replace(truth, sigma=0.1, background=13.0), prior
    )
    assert fitted.sensor.sigma == 0.1
    assert "sigma" in fitted.kept
    assert "sigma" not in fitted.std
    assert abs(fitted.sensor.background - 10.0) < 0.3


def test_images_of_two_cameras_are_refused():
    halves = [expose_scenes(replace(CAMERA, sigma=sigma), 64) for sigma in (0.45, 0.55)]
    with pytest.raises(DistaxError, match=r"sigma over rows is 0.4.* they come from two cameras"):
        fit_sensor(np.concatenate(halves), CAMERA, PRIOR)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (
            Sensor(sigma=0.5),
            Sensor(sigma=0.6),
            r"over rows is 0\.6 in about 3. of them and 0\.5",
        ),
        (
            replace(CAMERA, sigma=0.45),
            replace(CAMERA, sigma=0.55),
            r"sigma over rows is 0\.5.* of them and 0\.4",
        ),
        (CAMERA, replace(CAMERA, background=20.0), r"background is 2.* of them and 1"),
    ],
    ids=["without noise", "sigma", "background"],
)
def test_cameras_that_alternate_are_refused(first, second, message):
    pair = [expose_scenes(camera, 32, seed) for seed, camera in enumerate((first, second))]
    mixed = np.stack(pair, axis=1).reshape(-1, 11, 11)
    with pytest.raises(DistaxError, match=message + r".*, so they come from two cameras"):
        fit_sensor(mixed, replace(first, sigma=0.53), PRIOR)


def test_a_few_images_of_another_camera_are_left_out_with_a_warning():
    truth = Sensor()
    mixed = expose_scenes(truth, 64).copy()
    mixed[::8] = expose_scenes(replace(truth, sigma=0.65), 8, seed=1)
    with pytest.warns(DistaxWarning, match=r" of 64 images fit far worse than the others"):
        fitted = fit_sensor(mixed, replace(truth, sigma=0.53), PRIOR)
    np.testing.assert_allclose(fitted.sensor.sigma, 0.5, atol=0.005)


def test_too_few_images_are_refused_before_they_are_fitted(images, monkeypatch):
    monkeypatch.setattr(self_calibration, "sensor_terms_of", None)
    few = images[: FEWEST_IMAGES - 1]
    with pytest.raises(DistaxError, match=f"15 of 15 can be used .* at least {FEWEST_IMAGES}"):
        fit_sensor(few, CAMERA, PRIOR)


def test_images_without_targets_are_refused():
    dark = np.full((20, 11, 11), 10.0)
    with pytest.raises(DistaxError, match="none holds a target"):
        fit_sensor(dark, CAMERA, PRIOR)


@pytest.mark.parametrize(
    ("count", "message"),
    [
        (270.0, r"1 counts above the saturation of 255, up to 270; give the counts"),
        (-3.0, r"1 negative counts, down to -3, .* give raw counts"),
        (np.inf, "counts are infinite"),
    ],
)
def test_counts_that_the_sensor_cannot_deliver_are_refused(images, count, message):
    bad = images.copy()
    bad[3, 2, 1] = count
    with pytest.raises(DistaxError, match=message):
        fit_sensor(bad, CAMERA, PRIOR)
