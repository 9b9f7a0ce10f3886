import jax.numpy as jnp
import numpy as np

from distax.imaging.least_squares import damped, next_damping


def test_held_parameters_stay_and_act_as_constants_for_the_others():
    """Compared with the normal equations of the free parameters alone, for two problems at once."""
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


def test_damping_falls_after_better_steps_to_a_smallest_value():
    better = jnp.array([True, False, True])
    found = next_damping(jnp.array([1e-2, 1e-2, 1e-7]), better)
    np.testing.assert_allclose(found, [2e-3, 5e-2, 1e-7], rtol=1e-5)
