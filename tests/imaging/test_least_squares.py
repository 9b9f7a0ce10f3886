import jax.numpy as jnp
import numpy as np

from distax.imaging.least_squares import damped, next_damping


def test_held_parameters_stay_and_the_others_step_as_if_they_were_constants():
    """Against the normal equations without them, of two problems at once."""
    rng = np.random.default_rng(0)
    slopes = rng.standard_normal((2, 9, 4))
    matrix, vector = slopes.swapaxes(1, 2) @ slopes, rng.standard_normal((2, 4))
    free = np.array([[1, 1, 0, 1], [1, 1, 1, 1]])
    damping = np.array([0.1, 0.5])
    lanes_last = (jnp.float32(np.moveaxis(part, 0, -1)) for part in (matrix, free, damping))
    found = np.moveaxis(damped(*lanes_last), -1, 0)
    for k in range(2):
        step = np.linalg.solve(found[k], vector[k] * free[k])
        here = np.flatnonzero(free[k])
        part = matrix[k][np.ix_(here, here)]
        wanted = np.zeros(4)
        wanted[here] = np.linalg.solve(part + damping[k] * np.diag(np.diag(part)), vector[k][here])
        np.testing.assert_allclose(step, wanted, atol=1e-5)


def test_what_nothing_is_known_of_stays_where_it_has_a_floor():
    blind = damped(jnp.zeros((2, 2, 1)), jnp.ones((2, 1)), jnp.ones(1), floor=1e-6)
    np.testing.assert_allclose(blind[:, :, 0], 1e-6 * np.eye(2), rtol=1e-6)


def test_damping_follows_success_and_keeps_a_least_value():
    better = jnp.array([True, False, True])
    found = next_damping(jnp.array([1e-2, 1e-2, 1e-7]), better)
    np.testing.assert_allclose(found, [2e-3, 5e-2, 1e-7], rtol=1e-5)
