import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from distax.imaging.gaussian import disc_probability, disc_radius

probability_of = jax.jit(disc_probability)
radius_of = jax.jit(disc_radius, static_argnums=1)


def covariance(major, minor, angle):
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return jnp.float32(turn @ np.diag([major**2, minor**2]) @ turn.T)


def by_integration(major, minor, radius):
    """Integrates P(x² + y² ≤ r²) over strips across the major axis."""

    def strip(x):
        half = math.sqrt(max(radius**2 - x**2, 0.0))
        return norm.pdf(x, scale=major) * (2 * norm.cdf(half, scale=minor) - 1)

    return quad(strip, -radius, radius, epsabs=1e-9)[0]


@pytest.mark.parametrize(("ratio", "error"), [(20, 0.002), (100, 0.01)])
def test_thin_ellipses_are_off_by_no_more_than_stated(ratio, error):
    radii = [0.5 / ratio, 2 / ratio, 0.2, 1.0]
    thin = jnp.tile(covariance(1.0, 1 / ratio, 0.3), (4, 1, 1))
    expected = [by_integration(1.0, 1 / ratio, radius) for radius in radii]
    np.testing.assert_allclose(probability_of(thin, jnp.array(radii)), expected, atol=error)


@pytest.mark.parametrize("angle", [0.0, 0.7, 2.3])
@pytest.mark.parametrize("minor", [1.0, 0.4, 0.1])
@pytest.mark.parametrize("radius", [0.2, 1.0, 2.5])
def test_the_probability_agrees_with_integration(minor, radius, angle):
    major = 0.03
    stated = probability_of(covariance(major, minor * major, angle), radius * major)
    expected = by_integration(major, minor * major, radius * major)
    np.testing.assert_allclose(stated, expected, atol=1e-4)


def test_the_probability_agrees_with_random_draws():
    rng = np.random.default_rng(0)
    matrix = covariance(0.11, 0.04, 1.1)
    draws = rng.multivariate_normal(np.zeros(2), np.asarray(matrix, float), 200_000)
    for radius in (0.05, 0.1, 0.25):
        share = np.mean(np.hypot(*draws.T) <= radius)
        np.testing.assert_allclose(probability_of(matrix, radius), share, atol=5e-3)


@given(
    major=st.floats(1e-4, 1.0),
    ratio=st.floats(0.01, 1.0),
    angle=st.floats(0.0, math.pi),
    probability=st.sampled_from([0.5, 0.9]),
)
def test_the_radius_is_the_inverse_of_the_probability(major, ratio, angle, probability):
    matrix = covariance(major, ratio * major, angle)
    radius = radius_of(matrix, probability)
    np.testing.assert_allclose(probability_of(matrix, radius), probability, atol=1e-4)


def test_a_round_gaussian_has_rayleigh_distances():
    for probability in (0.5, 0.9, 0.95):
        expected = 0.2 * math.sqrt(-2 * math.log(1 - probability))
        np.testing.assert_allclose(
            radius_of(covariance(0.2, 0.2, 0.0), probability), expected, rtol=1e-4
        )


def test_batches_are_taken_one_by_one():
    matrices = jnp.stack([covariance(0.1, 0.05, 0.3), covariance(0.02, 0.02, 0.0)])
    radii = jnp.array([0.05, 0.03])
    alone = [probability_of(matrices[i], radii[i]) for i in range(2)]
    np.testing.assert_allclose(probability_of(matrices, radii), alone, rtol=1e-5)
    alone = [radius_of(matrices[i], 0.9) for i in range(2)]
    np.testing.assert_allclose(radius_of(matrices, 0.9), alone, rtol=1e-5)


def test_zero_covariance_is_inside_and_infinite_covariance_is_not():
    assert probability_of(covariance(1e-6, 1e-6, 0.0), 0.05) == 1.0
    assert probability_of(covariance(1e3, 1e3, 0.0), 0.05) < 1e-6


def test_several_probabilities_are_taken_at_once():
    levels = jnp.array([0.5, 0.9, 0.95])
    matrix = covariance(0.1, 0.05, 0.3)
    alone = [radius_of(matrix, float(level)) for level in levels]
    together = disc_radius(jnp.broadcast_to(matrix, (3, 2, 2)), levels)
    np.testing.assert_allclose(together, alone, rtol=1e-5)
