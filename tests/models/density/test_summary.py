import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax.metrics import RADII
from distax.models.density.nodes import Nodes
from distax.models.density.summary import (
    covariances,
    density_within,
    distance_grid,
    gaussian_within,
    hits_and_radii,
)

NODES = Nodes(reach=0.6, spacing=0.02)
CENTRE = jnp.array([[0.013, -0.108]])
STD = 0.1
LEVELS = np.array([0.5, 0.9, 0.95])


def gaussian(scale=1.0):
    squares = jnp.sum((NODES.place - CENTRE) ** 2, axis=-1)
    mass = jnp.exp(-squares / (2 * STD**2))
    return scale * (mass / mass.sum())[None]


def rayleigh(radii):
    return 1 - np.exp(-(np.asarray(radii) ** 2) / (2 * STD**2))


def test_the_covariance_of_a_gaussian_is_its_own():
    found = covariances(gaussian(0.8), NODES, CENTRE)[0]
    np.testing.assert_allclose(found, STD**2 * np.eye(2), atol=2e-4)


def test_the_covariance_of_a_sharp_density_is_not_the_spacing():
    share = NODES.spread(CENTRE).reshape(1, -1)
    std = np.sqrt(np.linalg.eigvalsh(covariances(share, NODES, CENTRE)[0]))
    assert np.all(std < 0.15 * NODES.spacing)
    assert np.all(std > 0)


def test_a_round_gaussian_follows_its_radial_distribution_as_density_and_as_covariance():
    distances = distance_grid(NODES.reach)
    as_density = density_within(gaussian(0.8), NODES.place, NODES.spacing, CENTRE, distances)
    as_covariance = gaussian_within(STD**2 * jnp.eye(2)[None], distances)
    np.testing.assert_allclose(as_covariance[0], rayleigh(distances), atol=1e-5)
    np.testing.assert_allclose(as_density[0], rayleigh(distances), atol=0.01)


def test_hits_and_credible_radii_are_read_off_the_radial_distribution():
    within = gaussian_within(STD**2 * jnp.eye(2)[None], distance_grid(NODES.reach))
    hits, radii = hits_and_radii(within, NODES.reach)
    np.testing.assert_allclose(hits[0], rayleigh(RADII), atol=1e-5)
    np.testing.assert_allclose(radii[0], STD * np.sqrt(-2 * np.log(1 - LEVELS)), rtol=0.02)


@pytest.mark.parametrize("elongation", [2.0, 10.0])
def test_a_long_gaussian_agrees_with_its_samples(elongation):
    root = jnp.array([[0.1, 0.03], [0.0, 0.1 / elongation]])
    samples = jax.random.normal(jax.random.key(0), (100_000, 2)) @ root
    distance, radii = np.linalg.norm(samples, axis=1), jnp.array([0.02, 0.05, 0.1, 0.2])
    found = gaussian_within((root.T @ root)[None], radii)[0]
    np.testing.assert_allclose(found, [np.mean(distance <= r) for r in radii], atol=0.01)
