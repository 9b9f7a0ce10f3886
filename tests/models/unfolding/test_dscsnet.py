import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from distax.models.unfolding.dscsnet import Stage

SHAPE = (6, 6)


@pytest.fixture(scope="module")
def problem():
    keys = jax.random.split(jax.random.key(0), 5)
    x, z, beta = (jax.random.normal(key, (2, 36)) for key in keys[:3])
    y, phi = jax.random.normal(keys[3], (2, 4)), jax.random.normal(keys[4], (4, 36))
    return Stage(0, 4, nnx.Rngs(0)), x, z, beta, y, phi


def test_the_auxiliary_step_minimises_its_part_of_the_lagrangian(problem):
    stage, x, _, beta, _, _ = problem
    stage.sparsity[...] = 0.4
    z, following = stage.split(x, beta)

    def cost(z):
        return 0.4 * np.abs(z) + (np.asarray(x + beta) - z) ** 2 / 2

    for change in (1e-2, -1e-2):
        assert (cost(np.asarray(z) + change) >= cost(np.asarray(z)) - 1e-6).all()
    assert 0 < float(jnp.mean(z == 0)) < 1
    np.testing.assert_allclose(following, beta + 0.5 * (x - z), rtol=1e-6)


def test_reconstruction_starts_by_a_step_down_the_augmented_lagrangian(problem):
    stage, x, z, beta, y, phi = problem

    def lagrangian(x):
        return jnp.sum((x @ phi.T - y) ** 2) / 2 + 0.1 * jnp.sum((x - z + beta) ** 2) / 2

    output = stage.reconstruct(x, y, phi, [z], beta, SHAPE)
    expected = x - 0.5 * jax.grad(lagrangian)(x)
    np.testing.assert_allclose(output.r.reshape(x.shape), expected, rtol=0, atol=1e-4)


def test_thresholds_depend_on_what_is_known_and_are_positive(problem):
    stage, _, z, beta, _, _ = problem
    u = jax.random.normal(jax.random.key(1), (2, *SHAPE, 4))
    known = (stage.history(values.reshape(2, *SHAPE, 1)) for values in (z, beta))
    first, second = (stage.threshold(u, maps) for maps in known)
    assert first.shape == u.shape
    assert float(first.min()) > 0
    assert float(jnp.abs(first - second).max()) > 1e-4
    np.testing.assert_allclose(
        stage.threshold(100 * u, stage.history(z.reshape(2, *SHAPE, 1))), first, rtol=1e-3
    )
