import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from distax.fitting.mixture import _MASSES, _POINTS, Mixture, decide, negative_log_likelihood
from distax.imaging.gaussian import disc_probability
from distax.metrics import RADII


def mixture_of(weight, mean, covariance, intensity=None, std=None):
    """A mixture for one image."""
    size = len(weight)
    return Mixture(
        log_weight=jnp.log(jnp.float32(weight))[None],
        mean=jnp.float32(mean)[None],
        factor=jnp.float32(np.linalg.cholesky(covariance))[None],
        intensity=jnp.float32(np.full(size, 235.0) if intensity is None else intensity)[None],
        intensity_std=jnp.float32(np.full(size, 5.0) if std is None else std)[None],
    )


@pytest.fixture(scope="module")
def drawn():
    """A mixture of four Gaussians with covariances of many shapes."""
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
    place, flux = np.array([[0.1, 0.0], [0.0, -0.2], [9.0, 9.0]]), np.array([230.0, 240.0, 0.0])
    arguments = [jnp.float32(part)[None] for part in (place, flux)]
    mask = jnp.array([[True, True, False]])
    loss = negative_log_likelihood(
        mixture_of(*drawn), *arguments, mask, jnp.array([0.5]), jnp.array([15.0])
    )
    density = density_of(drawn, place[:2], flux[:2]) * 0.5**2 * 15
    expected = -np.log((1 - 1e-4) * density + 1e-4 / 8).mean()
    np.testing.assert_allclose(loss, [expected], rtol=1e-4)


def test_the_points_of_a_gaussian_have_its_mass_and_width():
    assert _MASSES.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(_MASSES @ _POINTS, 0.0, atol=1e-12)
    covariance = np.einsum("p,pi,pj->ij", _MASSES, _POINTS, _POINTS)
    np.testing.assert_allclose(covariance, covariance[0, 0] * np.eye(2), atol=1e-12)
    assert 0.85 < covariance[0, 0] < 1.0  # The last ring stands for the tail beyond it.


def test_two_sharp_targets_are_found_where_they_are():
    mean = np.array([[0.2, 0.1], [-0.3, 0.0]])
    covariance = np.array([np.diag([0.02**2, 0.05**2]), np.diag([0.04**2, 0.04**2])])
    mixture = mixture_of([0.5, 0.5], mean, covariance, [225.0, 245.0], [3.0, 4.0])
    found = jax.tree.map(lambda leaf: leaf[0], decide(mixture, jnp.array([[True, True, False]])))
    order = np.argsort(-np.asarray(found.position[:2, 0]))
    np.testing.assert_allclose(found.position[:2][order], mean, atol=0.003)
    np.testing.assert_allclose(found.intensity[:2][order], [225.0, 245.0], rtol=1e-4)
    np.testing.assert_allclose(found.intensity_std[:2][order], [3.0, 4.0], rtol=1e-3)
    np.testing.assert_allclose(found.covariance[:2][order], covariance, atol=3e-4)
    exact = [disc_probability(jnp.float32(covariance), radius) for radius in RADII]
    print(found.hit_probability[:2][order].T, exact)
    np.testing.assert_allclose(found.hit_probability[:2][order].T, exact, atol=0.12)
    np.testing.assert_allclose(found.score[:2], np.mean(found.hit_probability[:2], axis=1))


def test_of_two_places_of_one_target_the_likelier_is_chosen():
    mean = np.array([[0.2, 0.1], [-0.3, 0.0]])
    covariance = np.tile(np.diag([0.02**2, 0.02**2]), (2, 1, 1))
    found = decide(mixture_of([0.3, 0.7], mean, covariance), jnp.array([[True]]))
    np.testing.assert_allclose(found.position[0, 0], mean[1], atol=0.003)
    np.testing.assert_allclose(found.hit_probability[0, 0], [0.7] * len(RADII), atol=0.02)
