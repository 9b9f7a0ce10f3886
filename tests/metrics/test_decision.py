import jax
import jax.numpy as jnp
import numpy as np

from distax.metrics.decision import choose_positions, distances_to, nearest_mass, share_inside
from distax.models.density.nodes import Nodes

NODES = Nodes(reach=0.6, spacing=0.05)
K = 5


def mask_of(count):
    return jnp.arange(K) < count


def choose(mass, nodes, mask):
    return choose_positions(nodes.place, mass, nodes.candidates, nodes.spacing, mask)


def density(*places, weights=None):
    mass = NODES.spread(jnp.array(places)).reshape(len(places), -1)
    return jnp.array(weights or [1.0] * len(places)) @ mass


def pairs_up(position, places, within):
    distance = np.linalg.norm(np.asarray(position)[:, None] - np.array(places), axis=-1)
    assert sorted(distance.argmin(axis=0)) == list(range(len(places)))
    np.testing.assert_array_less(distance.min(axis=0), within)


def test_sharp_targets_are_found_between_the_nodes():
    places = [(-0.413, 0.2), (0.1, 0.11), (0.388, -0.444)]
    position = choose(density(*places), NODES, mask_of(3))[:3]
    pairs_up(position, places, 0.005)


def test_five_targets_at_the_smallest_distance_are_resolved():
    places = [(-0.3, -0.3), (-0.3, 0.02), (0.02, -0.3), (0.02, 0.02), (0.34, 0.34)]
    pairs_up(choose(density(*places), NODES, mask_of(5)), places, 0.01)


def test_the_likelier_of_two_modes_is_chosen_not_their_mean():
    mass = density((0.0, -0.4), (0.0, 0.4), weights=[0.6, 0.4])
    np.testing.assert_allclose(choose(mass, NODES, mask_of(1))[0], [0.0, -0.4], atol=0.01)


def test_a_single_position_has_nearly_the_most_expected_hits_of_all_nodes():
    noise = jax.random.uniform(jax.random.key(3), NODES.place.shape[:1]) ** 8
    mass = density((0.2, 0.1)) / 2 + noise / noise.sum() / 2

    def hits(position):
        radii = jnp.array([0.05, 0.1, 0.15, 0.2, 0.25])
        inside = share_inside(distances_to(NODES.place, position)[..., None], radii, NODES.spacing)
        return float(mass @ inside.mean(axis=-1))

    position = choose(mass, NODES, mask_of(1))[0]
    assert hits(position) >= 0.98 * max(hits(place) for place in NODES.place)


def test_a_position_removes_the_mass_of_one_target_only():
    # Once a target is answered for, its mass no longer counts: the second position is the other.
    mass = density((0.0, -0.17), (0.0, 0.17), (0.4, 0.4), weights=[1.0, 1.0, 0.2])
    pairs_up(choose(mass, NODES, mask_of(2))[:2], [(0.0, -0.17), (0.0, 0.17)], 0.06)


def test_mass_goes_to_the_nearest_real_position():
    position = jnp.array([[0.0, -0.4], [0.0, 0.4], [0.0, 0.0]])
    mask = jnp.array([True, True, False])
    share = nearest_mass(NODES.place, density((0.0, -0.1), (0.3, 0.2)), position, mask)
    np.testing.assert_allclose(share.sum(axis=1), [1, 1, 0], atol=1e-5)
