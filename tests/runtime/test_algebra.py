import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax.runtime.algebra import (
    cholesky,
    invert,
    quadratic_form,
    solve,
    solve_lower,
    solve_upper,
)

LANES = 7


@jax.jit
def everything(matrix, vector):
    factor = cholesky(matrix)
    return {
        "factor": factor,
        "log_determinant": factor.log_determinant,
        "lower": solve_lower(factor, vector),
        "upper": solve_upper(factor, vector),
        "solution": solve(factor, vector),
        "quadratic_form": quadratic_form(factor, vector),
    }


def problem(size):
    """Matrices of condition number below 100, their parameters in units far apart."""
    rng = np.random.default_rng(size)
    root = rng.normal(size=(LANES, size, size))
    matrix = root @ np.swapaxes(root, 1, 2) / size + np.eye(size)
    units = np.resize([100.0, 100.0, 0.1], size)
    vector = rng.normal(size=(LANES, size))
    return matrix * units[:, None] * units, vector * units


@pytest.mark.parametrize("size", [1, 3, 9])
def test_it_agrees_with_numpy_lane_by_lane(size):
    matrix, vector = problem(size)
    result = everything(jnp.float32(matrix.transpose(1, 2, 0)), jnp.float32(vector.T))
    lower = np.zeros((LANES, size, size))
    for j, column in enumerate(result["factor"].columns):
        lower[:, j:, j] = np.asarray(column).T

    def same(name, expected):
        # Relative to the largest entry of the same unit: the matrices are well-conditioned.
        np.testing.assert_allclose(result[name].T, expected, rtol=2e-4, atol=2e-5)

    expected = np.linalg.cholesky(matrix)
    np.testing.assert_allclose(lower, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        result["factor"].inverse_diagonal.T,
        1 / np.diagonal(expected, axis1=1, axis2=2),
        rtol=1e-5,
    )
    same("log_determinant", np.linalg.slogdet(matrix)[1])
    same("lower", np.linalg.solve(expected, vector[..., None])[..., 0])
    same("upper", np.linalg.solve(np.swapaxes(expected, 1, 2), vector[..., None])[..., 0])
    same("solution", np.linalg.solve(matrix, vector[..., None])[..., 0])
    same("quadratic_form", np.einsum("ni,nij,nj->n", vector, matrix, vector))


def test_a_singular_matrix_gives_a_finite_factor():
    """Two targets on one spot: rounding may make the last pivot zero or negative."""
    row = jnp.float32([[1.0, 0.3, 0.1]])
    matrix = (row.T @ row)[:, :, None]
    result = everything(matrix, jnp.ones((3, 1)))
    for leaf in jax.tree.leaves(result["factor"]):
        assert np.isfinite(leaf).all()


@pytest.mark.parametrize("size", [1, 3, 18])
def test_the_inverse_and_determinant_agree_with_numpy(size):
    matrix, _ = problem(size)
    found, log_determinant = jax.jit(invert)(jnp.float32(matrix.transpose(1, 2, 0)))
    expected = np.linalg.inv(matrix)
    unit = np.sqrt(np.diagonal(expected, axis1=1, axis2=2))
    relative = (np.asarray(found).transpose(2, 0, 1) - expected) / unit[:, :, None] / unit[:, None]
    np.testing.assert_allclose(relative, 0.0, atol=1e-5)
    np.testing.assert_allclose(log_determinant, np.linalg.slogdet(matrix)[1], rtol=1e-5, atol=1e-4)


def test_a_matrix_that_is_not_positive_definite_has_no_determinant_and_a_bounded_inverse():
    twins = np.array([[1.0, 1.0 + 1e-6], [1.0 + 1e-6, 1.0]])
    matrices = jnp.float32(np.stack([twins, np.eye(2)], axis=-1))
    inverse, log_determinant = jax.jit(invert)(matrices)
    assert np.isnan(log_determinant).tolist() == [True, False]
    assert np.isfinite(inverse).all()
    np.testing.assert_array_equal(inverse[..., 1], np.eye(2))
