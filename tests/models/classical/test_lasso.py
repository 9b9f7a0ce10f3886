import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax import Sensor, render
from distax.imaging.scenes import sample
from distax.imaging.sensor import largest_eigenvalue
from distax.models.classical.lasso import lasso

SENSOR = Sensor(height=5, width=5)
PHI = SENSOR.sampling_matrix(3)


@pytest.fixture(scope="module")
def images():
    scenes = sample(jax.random.key(0), 3, shape=SENSOR.shape)
    return render(scenes, SENSOR).reshape(3, -1)


def objective(x, y, sparsity):
    return 0.5 * jnp.sum((x @ PHI.T - y) ** 2, axis=1) + sparsity * jnp.sum(jnp.abs(x), axis=1)


def test_the_norm_is_that_of_the_singular_values():
    expected = np.linalg.svd(np.asarray(PHI, float), compute_uv=False)[0] ** 2
    assert float(largest_eigenvalue(PHI)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("accelerated", [False, True])
def test_the_answer_satisfies_the_optimality_conditions(images, accelerated):
    """Φᵀ(Φx − y) is −λ sign x where x ≠ 0, and no larger than λ elsewhere."""
    x = lasso(images, PHI, 5.0, 20_000 if accelerated else 100_000, accelerated)
    slope = (x @ PHI.T - images) @ PHI
    active = jnp.abs(x) > 1.0
    assert active.any()
    np.testing.assert_allclose(slope[active], -5.0 * jnp.sign(x[active]), atol=0.05)
    assert float(jnp.abs(slope).max()) < 5.05


def test_momentum_gets_further_in_as_many_iterations(images):
    plain, fast = (lasso(images, PHI, 1.0, 300, accelerated) for accelerated in (False, True))
    assert (objective(fast, images, 1.0) < objective(plain, images, 1.0)).all()


def test_nothing_is_left_at_the_largest_weight(images):
    highest = float(jnp.abs(images @ PHI).max())
    assert not lasso(images, PHI, 1.01 * highest, 50).any()


def test_a_target_on_a_node_is_found_there():
    grid = jnp.zeros((1, 225)).at[0, 7 * 15 + 7].set(200.0)
    x = lasso(grid @ PHI.T, PHI, 1.0, 3000, True)
    assert int(jnp.argmax(x)) == 7 * 15 + 7
    assert float(jnp.sum(x)) == pytest.approx(200.0, rel=0.05)
