import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from distax.fitting.mixture import (
    _FEW,
    _MANY,
    COMPONENTS,
    Mixture,
    decide,
    negative_log_likelihood,
)
from distax.imaging.gaussian import disc_probability
from distax.metrics import RADII


def mixture_of(weight, mean, covariance, intensity=None, std=None):
    """Makes one image's mixture with a token for each Gaussian, whose components all equal it."""
    size = len(weight)
    arrays = {
        "log_weight": np.log(weight) - np.log(COMPONENTS),
        "mean": mean,
        "factor": np.linalg.cholesky(covariance),
        "intensity": np.full(size, 235.0) if intensity is None else intensity,
        "intensity_std": np.full(size, 5.0) if std is None else std,
    }
    repeated = {name: np.repeat(array, COMPONENTS, axis=0)[None] for name, array in arrays.items()}
    return Mixture(**jax.tree.map(jnp.float32, repeated))


@pytest.fixture(scope="module")
def drawn():
    """Draws four Gaussians: weights, means, covariances of many shapes, and intensities."""
    rng = np.random.default_rng(0)
    root = rng.normal(0, 0.05, (4, 2, 2))
    covariance = root @ root.swapaxes(1, 2) + 1e-4 * np.eye(2)
    weight = rng.dirichlet(np.ones(4))
    intensity, std = rng.uniform(220, 250, 4), rng.uniform(2, 9, 4)
    return weight, rng.normal(0, 0.2, (4, 2)), covariance, intensity, std


def density_of(drawn, place, flux):
    return sum(
        weight
        * multivariate_normal(mean, covariance).pdf(place)
        * multivariate_normal(intensity, std**2).pdf(flux)
        for weight, mean, covariance, intensity, std in zip(*drawn, strict=True)
    )


def test_the_density_is_that_of_its_gaussians(drawn):
    rng = np.random.default_rng(1)
    place, flux = rng.normal(0, 0.2, (6, 2)), rng.uniform(220, 250, 6)
    found = mixture_of(*drawn).log_density(jnp.float32(place)[None], jnp.float32(flux)[None])[0]
    np.testing.assert_allclose(np.exp(found), density_of(drawn, place, flux), rtol=1e-3)


def test_the_loss_is_the_mean_over_true_targets_in_units_of_the_cluster(drawn):
    place, flux = np.array([[0.1, 0.0], [0.0, -0.2]]), np.array([230.0, 240.0])
    arguments = [jnp.float32(part)[None] for part in (place, flux)]
    loss = negative_log_likelihood(
        mixture_of(*drawn), *arguments, jnp.array([0.5]), jnp.array([15.0])
    )
    density = density_of(drawn, place, flux) * 0.5**2 * 15
    expected = -np.log((1 - 1e-4) * density + 1e-4 / 8).mean()
    np.testing.assert_allclose(loss, [expected], rtol=1e-4)


@pytest.mark.parametrize("points", [_FEW, _MANY])
def test_the_points_of_a_gaussian_have_its_mass_and_width(points):
    place, mass = points
    assert mass.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(mass @ place, 0.0, atol=1e-12)
    covariance = np.einsum("p,pi,pj->ij", mass, place, place)
    np.testing.assert_allclose(covariance, covariance[0, 0] * np.eye(2), atol=1e-12)
    # The last ring stands for the tail beyond it.
    assert 0.6 < covariance[0, 0] < 1.0


def test_two_sharp_targets_are_found_where_they_are():
    mean = np.array([[0.2, 0.1], [-0.3, 0.0]])
    covariance = np.array([np.diag([0.02**2, 0.05**2]), np.diag([0.04**2, 0.04**2])])
    mixture = mixture_of([0.5, 0.5], mean, covariance, [225.0, 245.0], [3.0, 4.0])
    found = jax.tree.map(lambda leaf: leaf[0], decide(mixture, 2))
    order = np.argsort(-np.asarray(found.position[:2, 0]))
    np.testing.assert_allclose(found.position[order], mean, atol=0.003)
    np.testing.assert_allclose(found.intensity[order], [225.0, 245.0], rtol=1e-4)
    np.testing.assert_allclose(found.intensity_std[order], [3.0, 4.0], rtol=1e-3)
    np.testing.assert_allclose(found.covariance[order], covariance, atol=3e-4)
    exact = [disc_probability(jnp.float32(covariance), radius) for radius in RADII]
    np.testing.assert_allclose(found.hit_probability[order].T, exact, atol=0.12)
    np.testing.assert_allclose(found.score, np.mean(found.hit_probability, axis=1), rtol=1e-6)


def test_of_two_places_of_one_target_the_likelier_is_chosen():
    mean = np.array([[0.2, 0.1], [-0.3, 0.0]])
    covariance = np.tile(np.diag([0.02**2, 0.02**2]), (2, 1, 1))
    found = decide(mixture_of([0.3, 0.7], mean, covariance), 1)
    np.testing.assert_allclose(found.position[0, 0], mean[1], atol=0.003)
    np.testing.assert_allclose(found.hit_probability[0, 0], [0.7] * len(RADII), atol=0.02)
