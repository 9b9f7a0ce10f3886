import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax import Sensor, rasterize, render
from distax.imaging.scenes import sample
from distax.models.unfolding.initialization import linear_estimator, simulated_estimator

SENSOR, FACTOR, RIDGE = Sensor(height=5, width=6), 3, 1e-4


@pytest.fixture(scope="module")
def labels_and_phi():
    labels = rasterize(sample(jax.random.key(1), 400, shape=SENSOR.shape), SENSOR, FACTOR)
    return labels.reshape(400, -1), SENSOR.sampling_matrix(FACTOR)


def solve(labels, phi, ridge=RIDGE):
    """X Yᵀ (Y Yᵀ + ρI)⁻¹ in float64, and ρ: the ridge times the mean of the diagonal of Y Yᵀ."""
    x = np.asarray(labels, float).T
    y = np.asarray(phi, float) @ x
    rho = ridge * np.trace(y @ y.T) / len(y)
    return x @ y.T @ np.linalg.inv(y @ y.T + rho * np.eye(len(y))), rho


@pytest.mark.parametrize("ridge", [1e-4, 1e-2])
def test_agrees_with_a_float64_solve(ridge, labels_and_phi):
    q = linear_estimator(*labels_and_phi, ridge=ridge)
    expected, _ = solve(*labels_and_phi, ridge=ridge)
    np.testing.assert_allclose(q, expected, rtol=0, atol=1e-3 * np.abs(expected).max())


def test_in_float64_it_is_the_solve(labels_and_phi):
    expected, _ = solve(*labels_and_phi)
    with jax.enable_x64(True):
        q = linear_estimator(*(jnp.asarray(array, float) for array in labels_and_phi))
    np.testing.assert_allclose(q, expected, rtol=0, atol=1e-9 * np.abs(expected).max())


def test_no_other_map_has_a_smaller_error(labels_and_phi):
    labels, phi = (np.asarray(array, float) for array in labels_and_phi)
    _, rho = solve(labels, phi)
    images = labels @ phi.T

    def objective(q):
        return np.sum((images @ q.T - labels) ** 2) + rho * np.sum(q**2)

    q = np.asarray(linear_estimator(*labels_and_phi), float)
    rng = np.random.default_rng(0)
    for scale in (0.01, 0.1, 1.0):
        other = q + scale * np.abs(q).max() * rng.normal(size=q.shape)
        assert objective(other) > objective(q)
    for factor in (0.98, 1.02):
        assert objective(factor * q) > objective(q)


def test_the_simulated_estimator_estimates_scenes_it_has_not_seen():
    truth = sample(jax.random.key(5), 400, shape=SENSOR.shape)
    images, grids = render(truth, SENSOR), rasterize(truth, SENSOR, FACTOR)
    q = simulated_estimator(SENSOR, FACTOR)
    estimate = (images.reshape(400, -1) @ q.T).reshape(grids.shape)

    assert jnp.sum((estimate - grids) ** 2) < 0.9 * jnp.sum(grids**2)
    assert np.corrcoef(estimate.ravel(), grids.ravel())[0, 1] > 0.3
    # Flux is kept, and lies where the targets are: within a pixel of their common centre.
    np.testing.assert_allclose(jnp.mean(estimate.sum((1, 2)) / grids.sum((1, 2))), 1, atol=0.02)
    rows, columns = np.mgrid[0:15, 0:18]
    for axis in (rows, columns):
        centre, true = ((g * axis).sum((1, 2)) / g.sum((1, 2)) for g in (estimate, grids))
        np.testing.assert_allclose(centre, true, atol=FACTOR / 2)
        assert np.sqrt(np.mean((centre - true) ** 2)) < 0.3
