import jax.numpy as jnp
import numpy as np
import pytest

from distax import DistaxError, Sensor, make_targets, render
from distax.frames.blobs import (
    detection_threshold,
    false_blobs,
    peaks,
    psf_line,
    signal_to_noise,
)

SIDE = 41


@pytest.mark.parametrize(("sigma", "threshold"), [(0.5, 3.7), (1.0, 3.8), (2.0, 3.5)])
def test_noise_has_the_expected_number_of_peaks(sigma, threshold):
    rng = np.random.default_rng(1)
    side, frames = 256, 12
    found = 0
    for _ in range(frames):
        noise = rng.standard_normal((side, side)).astype(np.float32)
        significance = signal_to_noise(noise, np.ones_like(noise), sigma)
        found += len(peaks(significance, threshold, round(4 * sigma)))
    stated = frames * false_blobs(threshold, side**2, sigma)
    assert stated > 30
    # Three standard deviations of the count, and a tenth for what the formula leaves out at
    # thresholds this low.
    assert abs(found - stated) < 3 * np.sqrt(stated) + 0.1 * stated


@pytest.mark.parametrize("sigma", [0.3, 0.5, 1.5])
@pytest.mark.parametrize("expected", [1e-4, 1e-2, 5.0])
def test_the_threshold_inverts_false_blobs(sigma, expected):
    threshold = detection_threshold(expected, 512 * 640, sigma)
    assert false_blobs(threshold, 512 * 640, sigma) == pytest.approx(expected, rel=1e-6)


def test_more_false_blobs_than_pixels_allow_raise():
    with pytest.raises(DistaxError, match=r"positive and at most 4\.404 in 100 pixels"):
        detection_threshold(20.0, 100, 0.5)


def test_more_false_blobs_than_a_wide_psf_allows_raise():
    """64×64 pixels hold 36 independent areas of this PSF."""
    with pytest.raises(DistaxError, match=r"at most 5\.[0-9]+ in 4096 pixels with this PSF"):
        detection_threshold(10.0, 4096, 3.0)
    assert detection_threshold(5.0, 4096, 3.0) == pytest.approx(1.65, abs=0.1)


@pytest.mark.parametrize("sigma", [0.7, (0.6, 1.1)])
def test_a_single_target_has_the_theoretical_significance(sigma):
    sensor = Sensor(height=SIDE, width=SIDE, sigma=sigma)
    image = np.asarray(render(make_targets(jnp.array([[20.0, 9.0]]), jnp.array([300.0])), sensor))
    noise = np.full_like(image, 4.0)
    significance = signal_to_noise(image, noise, sigma)
    ideal = 300 / 4 * np.sqrt(np.sum((image / 300) ** 2))
    assert significance[20, 9] == pytest.approx(ideal, rel=1e-4)
    assert peaks(significance, 10.0, 3).tolist() == [[20, 9]]


def test_bad_pixels_have_no_weight():
    rng = np.random.default_rng(2)
    counts = rng.standard_normal((SIDE, SIDE))
    line = psf_line(0.5)
    counts[20, 21] = np.nan
    found = signal_to_noise(counts, np.ones_like(counts), 0.5)
    kernel = np.outer(line, line)
    reach = len(line) // 2
    around = counts[20 - reach : 21 + reach, 20 - reach : 21 + reach]
    good = np.isfinite(around)
    naive = np.sum((kernel * around)[good]) / np.sqrt(np.sum(kernel[good] ** 2))
    assert found[20, 20] == pytest.approx(naive, rel=1e-5)
    # At the bad pixel itself too little of the PSF is seen.
    assert found[20, 21] == 0.0


def test_peaks_within_reach_of_a_higher_one_and_plateaus_are_one():
    field = np.zeros((20, 30))
    field[5, 5], field[5, 7], field[5, 12] = 9.0, 8.0, 7.0
    field[14:17, 20:23] = 6.0
    assert peaks(field, 5.0, 2).tolist() == [[5, 5], [5, 12], [15, 21]]
    assert peaks(field, 5.0, 1).tolist() == [[5, 5], [5, 7], [5, 12], [15, 21]]
    assert peaks(field, 10.0, 2).shape == (0, 2)
