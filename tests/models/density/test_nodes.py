import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax.metrics.decision import share_inside
from distax.models.density.nodes import Nodes

NODES = Nodes(reach=0.6, spacing=0.05)


def test_the_nodes_are_a_square_around_the_origin():
    assert NODES.side == 25
    np.testing.assert_allclose(NODES.place[0], [-0.6, -0.6], atol=1e-6)
    np.testing.assert_allclose(NODES.place[1], [-0.6, -0.55], atol=1e-6)
    np.testing.assert_allclose(NODES.place[-1], [0.6, 0.6], atol=1e-6)


def test_spread_keeps_mass_and_mean_and_has_the_variance_it_states():
    position = jax.random.uniform(jax.random.key(0), (20, 2), minval=-0.59, maxval=0.59)
    mass = NODES.spread(position).reshape(20, -1)
    np.testing.assert_allclose(mass.sum(axis=1), 1, rtol=1e-5)
    assert int((mass > 1e-4).sum(axis=1).max()) == 4
    np.testing.assert_allclose(mass @ NODES.place, position, atol=1e-6)
    variance = mass @ NODES.place**2 - position**2
    np.testing.assert_allclose(variance, NODES.spread_variance(position), atol=1e-6)


def test_what_lies_beyond_the_nodes_is_lost():
    assert float(NODES.spread(jnp.array([0.9, 0.0])).sum()) == 0


@pytest.mark.parametrize(("distance", "share"), [(0.1, 1.0), (0.2, 0.5), (0.19, 0.7), (0.3, 0.0)])
def test_a_cell_is_inside_a_radius_by_degrees(distance, share):
    assert float(share_inside(jnp.array(distance), 0.2, NODES.spacing)) == pytest.approx(
        share, abs=1e-5
    )
