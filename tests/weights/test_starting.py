import jax
import numpy as np
import pytest
from flax import nnx

from distax import DistaxError
from distax.models import create
from distax.runtime.pytree import named_leaves
from distax.weights import matching_parameters

HEAD = {"head": "offset", "head_width": 16, "head_blocks": 1}


def small(seed=0, name="espcn", **options):
    return create(name, rngs=nnx.Rngs(seed), **options)


def leaves(model):
    return named_leaves(nnx.state(model, nnx.Param))


def test_a_model_takes_all_parameters_of_one_like_it():
    start, counts = matching_parameters(small(0), [("trained", small(1))])
    expected = leaves(small(1))
    assert start.keys() == expected.keys()
    assert counts == {"trained": len(expected)}
    jax.tree.map(np.testing.assert_array_equal, start, expected)


def test_a_head_and_the_grid_model_that_carries_it_come_from_two():
    grid = small(1, window=5)
    headed = small(2, "ista", iterations=1, window=5, **HEAD)
    model = small(3, window=5, **HEAD)
    start, counts = matching_parameters(model, [("grid", grid), ("headed", headed)])
    expected = {f"inner.{name}": value for name, value in leaves(grid).items()}
    expected |= leaves(headed)
    assert start.keys() == leaves(model).keys() == expected.keys()
    assert counts == {"grid": len(leaves(grid)), "headed": len(leaves(headed))}
    jax.tree.map(np.testing.assert_array_equal, start, expected)


def test_weights_of_whole_images_fit_a_window_and_a_head():
    model = small(3, window=5, **HEAD)
    start, _ = matching_parameters(model, [("whole", small(1))])
    assert all(name.startswith("inner.inner.") for name in start)
    assert len(start) == len(leaves(small(1)))


def test_the_last_source_of_a_place_wins_and_other_shapes_have_none():
    first, last = small(1, "srcnn"), small(2, "srcnn")
    start, _ = matching_parameters(small(0, "srcnn"), [("first", first), ("last", last)])
    jax.tree.map(np.testing.assert_array_equal, start, leaves(last))
    wide, narrow = ({"stages": 1, "channels": 4, "hidden": hidden} for hidden in (8, 16))
    start, _ = matching_parameters(small(0, "dista", **wide), [("a", small(1, "dista", **narrow))])
    assert 0 < len(start) < len(leaves(small(0, "dista", **wide)))


def test_matrices_that_a_model_is_built_around_are_not_parameters():
    start, _ = matching_parameters(small(0, "lamp", layers=1), [("a", small(1, "lamp", layers=1))])
    assert not any("q_init" in name or "phi" in name for name in start)


def test_weights_that_fit_nowhere_are_named():
    with pytest.raises(DistaxError, match="other: none of its parameters has a place"):
        matching_parameters(small(), [("other", small(name="fista_net", channels=4, stages=2))])
