import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax import make_targets
from distax.imaging.targets import clear_padding

POSITION = jnp.arange(12.0).reshape(2, 3, 2)
INTENSITY = jnp.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
MASK = jnp.array([[True, False, True], [False, False, False]])


def test_count_and_flux_leave_padding_out():
    targets = make_targets(POSITION, INTENSITY, MASK)
    np.testing.assert_array_equal(targets.count, [2, 0])
    np.testing.assert_array_equal(targets.flux, [[1, 0, 3], [0, 0, 0]])


def test_flux_of_padding_is_zero_even_if_it_holds_nan():
    targets = make_targets(POSITION, jnp.where(MASK, INTENSITY, jnp.nan), MASK)
    np.testing.assert_array_equal(targets.flux, [[1, 0, 3], [0, 0, 0]])


def test_cleared_padding_is_zero_in_every_field_and_targets_stay():
    filled = make_targets(POSITION, INTENSITY, MASK)
    known = {"covariance": jnp.full((2, 3, 2, 2), jnp.nan), "misfit": jnp.ones(2)}
    cleared = clear_padding(dataclasses.replace(filled, **known))
    np.testing.assert_array_equal(cleared.position, POSITION * MASK[..., None])
    np.testing.assert_array_equal(cleared.score, INTENSITY * MASK)
    np.testing.assert_array_equal(np.isnan(cleared.covariance[..., 0, 0]), MASK)
    np.testing.assert_array_equal(cleared.misfit, [1, 1])
    assert cleared.hit_probability is None


def test_by_default_every_slot_is_a_target_ranked_by_intensity():
    targets = make_targets(POSITION, INTENSITY)
    np.testing.assert_array_equal(targets.count, [3, 3])
    np.testing.assert_array_equal(targets.score, INTENSITY)


def test_a_given_score_is_kept():
    targets = make_targets(POSITION, INTENSITY, score=-INTENSITY)
    np.testing.assert_array_equal(targets.score, -INTENSITY)
    np.testing.assert_array_equal(targets.intensity, INTENSITY)


def test_targets_are_a_tree_of_their_four_arrays():
    targets = make_targets(POSITION, INTENSITY, MASK)
    second = jax.tree.map(lambda array: array[1], targets)
    np.testing.assert_array_equal(second.position, POSITION[1])
    np.testing.assert_array_equal(second.mask, MASK[1])
    assert len(jax.tree.leaves(targets)) == 4
    np.testing.assert_array_equal(jax.jit(lambda t: t.count)(targets), [2, 0])


def test_targets_are_immutable():
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_targets(POSITION, INTENSITY).mask = MASK


@pytest.mark.parametrize(
    "arrays",
    [
        {"position": POSITION[..., :1]},
        {"intensity": INTENSITY[:, :2]},
        {"mask": MASK.astype(jnp.float32)},
        {"score": INTENSITY[0]},
    ],
)
def test_the_declared_shapes_and_types_are_enforced_here(arrays):
    fields = {"position": POSITION, "intensity": INTENSITY, "mask": MASK, "score": INTENSITY}
    with pytest.raises(TypeError, match=next(iter(arrays))):
        make_targets(**fields | arrays)
