"""False blobs in frames of noise of many kinds, at the number that is stated."""

import runpy

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import convolve2d

from distax import DistaxWarning, Sensor, make_targets, render
from distax.frames.bands import bands
from distax.frames.blobs import detection_threshold, peaks, signal_to_noise
from distax.frames.detection import measure_detection
from distax.frames.sampling import filter_weights
from distax.frames.sky import measure_sky
from tests.pages import ROOT

CAMERA = Sensor(saturation=None, bit_depth=None)
SCRIPT = runpy.run_path(str(ROOT / "experiments/benchmarks/noise_families.py"))
FAMILIES, SIDE = SCRIPT["FAMILIES"], SCRIPT["SIDE"]
FRAMES = 12


def detect(frame, expected, sigma=0.5):
    sky = measure_sky(frame, 64, Sensor(sigma=sigma, saturation=None, bit_depth=None))
    return measure_detection(sky, expected, sigma)


def blobs(frame, expected):
    detection = detect(frame, expected)
    (whole,) = bands(frame.shape, frame.shape[0], 0)
    counts, noise, _ = detection.sky.read(whole)
    significance = signal_to_noise(detection.sky.above_level(counts, noise), noise, 0.5)
    return len(peaks(significance, detection.threshold, 2))


@pytest.mark.parametrize("family", FAMILIES)
def test_noise_makes_the_stated_number_of_blobs(family):
    """One a frame within a factor of three, and few at a tenth of that."""
    frames = [FAMILIES[family](np.random.default_rng([7, seed])) for seed in range(FRAMES)]
    found = sum(blobs(frame, 1.0) for frame in frames)
    assert found <= 3 * FRAMES
    # Of rounded and of enlarged noise fewer are found than stated.
    if "whole" not in family and "linear" not in family:
        assert found >= FRAMES / 3
    # 1.2 are stated. More than eight by chance are four in a million at three times that.
    assert sum(blobs(frame, 0.1) for frame in frames) <= 8


def test_a_strong_vignette_has_no_blobs_but_its_stars():
    """Its curvature stands above rings by several times the noise, everywhere."""
    row, column = np.indices((128, 160)) - np.array([64, 80])[:, None, None]
    vignette = 1 - 0.4 * (row**2 + column**2) / (64**2 + 80**2)
    noise = 5 * np.random.default_rng(1).standard_normal(row.shape)
    frame = 5e4 * vignette + noise
    assert blobs(frame, 0.01) == 0
    frame[20:110:30, 20:150:40] += 800
    assert blobs(frame, 0.01) == 12


def star_field(sigma, stars, seed, side=256):
    """Stars of signal-to-noise ratios from about 25 to 300, anywhere, every third in a pair."""
    random = np.random.default_rng(seed)
    position = random.uniform(3, side - 4, (stars, 2))
    flux = 400 * sigma * np.exp(random.uniform(0, 2.5, stars)) / 2
    angle = random.uniform(0, 2 * np.pi, stars // 3)
    step = 2 * sigma * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    position = np.concatenate([position, position[: stars // 3] + step])
    targets = make_targets(jnp.float32(position), jnp.float32(np.append(flux, flux[: stars // 3])))
    ideal = render(targets, Sensor(height=side, width=side, sigma=sigma))
    return np.asarray(ideal) + 100 + 2 * random.standard_normal((side, side))


@pytest.mark.parametrize("sigma", [0.5, 1.3, 2.0, 3.0])
@pytest.mark.parametrize("stars", [25, 100])
def test_stars_do_not_raise_the_threshold(sigma, stars):
    """Neither do those that are wider than the PSF was taken for."""
    frame = star_field(sigma, stars, seed=1)
    for assumed in {sigma, 0.5}:
        detection = detect(frame, 0.01, assumed)
        assert detection.kind == "gaussian"
        assert detection.threshold == detection_threshold(0.01, frame.size, assumed)
        assert detection.sky.correlation == 1.0
        assert not detection.sky.sloped


def test_photons_are_skewed_and_smoothed_noise_is_correlated():
    random = np.random.default_rng(1)
    photons = detect(FAMILIES["Poisson of mean 1"](random), 0.1)
    assert photons.kind == "skewed"
    # A pixel of the Poisson law exceeds 7 counts in 1e-5, which is 6 standard deviations.
    assert 6.5 < photons.threshold < 9.0
    smooth = detect(FAMILIES["smoothed by 1 px"](random), 0.1)
    assert smooth.kind == "correlated"
    assert smooth.threshold < 1.1 * detection_threshold(0.1, SIDE**2, 0.5)
    # The variance of the filtered noise from the smoothing kernel and the filter.
    axis = np.arange(-6, 7)
    line = np.exp(-(axis**2) / 2) / np.exp(-(axis**2) / 2).sum()
    kernel, weights = np.outer(line, line), filter_weights(0.5)
    ratio = np.sum(convolve2d(kernel, weights) ** 2) / np.sum(kernel**2)
    assert smooth.sky.correlation == pytest.approx(np.sqrt(ratio), rel=0.05)


def test_hot_pixels_do_not_raise_the_threshold_and_are_warned_of():
    frame = SCRIPT["hot_pixels"](np.random.default_rng(3))
    detection = detect(frame, 1.0)
    assert detection.kind == "gaussian"
    assert detection.threshold == detection_threshold(1.0, frame.size, 0.5)
    with pytest.warns(DistaxWarning, match="9 of 12 blobs are single bright pixels, .* --mask"):
        detection.warn(1.0, bright_pixels=9, blobs=12)
    detection.warn(1.0, bright_pixels=3, blobs=12)


def test_the_height_of_a_frame_does_not_change_its_noise():
    """A tall frame is sampled by strips."""
    random = np.random.default_rng(5)
    tall = random.poisson(1.0, (1300, 512)).astype(np.float32)
    assert detect(tall, 0.1).kind == "skewed"
    part = detect(tall[:256], 0.1 * 256 / 1300)
    assert detect(tall, 0.1).threshold == pytest.approx(part.threshold, rel=0.06)
