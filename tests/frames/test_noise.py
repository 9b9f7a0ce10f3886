import numpy as np
import pytest

from distax.frames.noise import filter_tail, is_gaussian, law_threshold, measure_law
from distax.frames.sampling import filter_weights

NUMBER = 16384


def photons(mean, seed=0, number=NUMBER):
    counts = np.random.default_rng(seed).poisson(mean, number).astype(float)
    return (counts - mean) / np.sqrt(mean)


@pytest.mark.parametrize("mean", [0.2, 1.0, 5.0])
def test_the_law_continues_the_tail_of_photons(mean):
    """At a probability that none of the pixels shows."""
    from scipy.stats import poisson

    law = measure_law(photons(mean), 1 / np.sqrt(mean))
    assert law.mass.sum() == pytest.approx(1.0, abs=1e-6)
    assert np.sum(law.mass * law.value) == pytest.approx(0.0, abs=0.03)
    assert np.sum(law.mass * law.value**2) == pytest.approx(1.0, abs=0.05)
    rare = int(poisson.isf(3e-7, mean)) + 1
    found = law.mass[law.value > (rare - 0.5 - mean) / np.sqrt(mean)].sum()
    assert 0.125 < found / poisson.sf(rare - 1, mean) < 8


@pytest.mark.parametrize("mean", [0.2, 1.0, 5.0])
@pytest.mark.parametrize("sigma", [0.5, 1.0])
def test_the_filters_tail_follows_from_the_law(mean, sigma):
    from scipy.signal import fftconvolve

    weights = filter_weights(sigma)
    truth = fftconvolve(photons(mean, seed=9, number=(1200, 1200)), weights, mode="valid")
    tail = filter_tail(measure_law(photons(mean), 1 / np.sqrt(mean)), weights.ravel())
    for rarity in (1e-3, 1e-4):
        (found,) = tail(np.quantile(truth, [1 - rarity]))
        assert 0.5 < found / rarity < 2


def test_gaussian_noise_has_nearly_its_own_threshold():
    pixels = np.random.default_rng(2).standard_normal(NUMBER)
    assert is_gaussian(pixels)
    law = measure_law(pixels, 0.0)
    for threshold in (3.8, 4.8):
        found = law_threshold(law, filter_weights(0.5).ravel(), threshold)
        assert found == pytest.approx(threshold, rel=0.06)


def test_the_decay_of_an_exponential_tail_is_measured_without_its_outliers():
    pixels = np.random.default_rng(3).exponential(2.0, NUMBER)
    pixels[:5] = 500.0
    assert measure_law(pixels, 0.0).decay == pytest.approx(0.5, rel=0.3)


def test_photons_are_not_gaussian_and_hot_pixels_no_law():
    pixels = np.random.default_rng(4).standard_normal(NUMBER)
    assert is_gaussian(3 * pixels)
    assert not is_gaussian(photons(5.0))
    assert not is_gaussian(photons(0.2))
    # Noise that is cut off above is no reason for a higher threshold.
    assert is_gaussian(np.minimum(pixels, 1.5))
    hot = pixels.copy()
    hot[:20] += 50.0
    assert is_gaussian(hot)
    assert not is_gaussian(np.where(np.arange(NUMBER) % 100 == 0, 30 + pixels, pixels))


def test_salt_of_one_value_has_a_threshold():
    pixels = np.random.default_rng(0).standard_normal(4000)
    pixels[:200] = 40.0
    law = measure_law(pixels, 0.0)
    assert np.isfinite(law.decay)
    assert law.mass.sum() == pytest.approx(1.0, abs=0.02)
    weights = np.full(9, 1 / 3)
    assert 5.0 < law_threshold(law, weights, 5.0) < 300.0
