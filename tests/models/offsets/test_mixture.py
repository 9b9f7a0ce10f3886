import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from distax.models.offsets.mixture import OUTPUTS, make_mixture

NODES = np.array([[-0.4, 0.1], [0.0, 0.0], [0.3, -0.2]], np.float32)
CELL = 1 / 3


@pytest.fixture(scope="module")
def mixture():
    outputs = jax.random.normal(jax.random.key(0), (3, OUTPUTS))
    return make_mixture(outputs, NODES, CELL)


def test_the_density_is_that_of_its_gaussians(mixture):
    position, intensity = jnp.array([[0.1, -0.2], [0.4, 0.3]]), jnp.array([0.2, -1.0])
    expected = np.zeros(2)
    for k in range(3):
        covariance = np.asarray(mixture.root[k] @ mixture.root[k].T, np.float64)
        of_place = multivariate_normal(mixture.mean[k], covariance).pdf(position)
        of_light = norm(mixture.intensity[k], mixture.intensity_std[k]).pdf(intensity)
        expected += np.exp(mixture.log_weight[k]) * of_place * of_light
    np.testing.assert_allclose(
        mixture.log_density(position, intensity), np.log(expected), rtol=1e-4, atol=1e-4
    )


def test_the_density_integrates_to_one():
    # Broad components, so that a coarse grid of positions and intensities integrates them.
    outputs = jnp.zeros((3, OUTPUTS)).at[:, 3:5].set(1.0).at[0, 5].set(0.7)
    mixture = make_mixture(outputs, NODES, CELL)
    axis, light = jnp.linspace(-2.0, 2.0, 81), jnp.linspace(-5.0, 5.0, 41)
    place = jnp.stack(jnp.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    densities = [
        jnp.exp(mixture.log_density(place, jnp.full(len(place), each))).sum() for each in light
    ]
    assert float(sum(densities)) * 0.05**2 * 0.25 == pytest.approx(1, abs=1e-3)


def test_points_have_the_mixtures_mean_and_covariance(mixture):
    weight = np.exp(np.asarray(mixture.log_weight, np.float64))
    mean = weight @ mixture.mean
    away = np.asarray(mixture.mean) - mean
    root = np.asarray(mixture.root)
    second = root @ root.transpose(0, 2, 1) + away[:, :, None] * away[:, None, :]
    place, mass = np.asarray(mixture.points()), np.asarray(mixture.point_mass())
    assert mass.sum() == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(mass @ place, mean, atol=1e-6)
    np.testing.assert_allclose(
        np.einsum("p,pi,pj", mass, place - mean, place - mean),
        np.einsum("k,kij->ij", weight, second),
        rtol=1e-5,
    )


@pytest.mark.parametrize("size", [1.0, 1e3, 1e6])
def test_extreme_outputs_stay_finite_and_within_their_cells(size):
    outputs = size * jax.random.normal(jax.random.key(1), (20, 3, OUTPUTS))

    def log_density(outputs):
        mixture = make_mixture(outputs, NODES, CELL)
        return mixture.log_density(jnp.zeros((20, 1, 2)), jnp.zeros((20, 1))).sum()

    mixture = make_mixture(outputs, NODES, CELL)
    assert np.abs(mixture.mean - NODES).max() <= CELL + 1e-6
    assert float(mixture.root[..., 0, 0].min()) >= 0.005 * (1 - 1e-6)
    assert float(mixture.root[..., 0, 0].max()) <= 0.3 * (1 + 1e-6)
    assert jnp.isfinite(log_density(outputs))
    assert jnp.isfinite(jax.grad(log_density)(outputs)).all()
