import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax.runtime.batching import in_batches, padded_batches


@pytest.mark.parametrize("length", [1, 3, 4, 5, 8])
def test_every_row_comes_once_in_order_and_padding_is_marked(length):
    data = {"a": np.arange(1, length + 1), "b": np.ones((length, 2))}
    batches = list(padded_batches(data, 4))
    assert all(batch["a"].shape == (4,) and batch["b"].shape == (4, 2) for batch, _ in batches)
    rows = np.concatenate([batch["a"][valid] for batch, valid in batches])
    np.testing.assert_array_equal(rows, data["a"])
    assert sum(float(batch["b"].sum()) for batch, _ in batches) == 2 * length


@pytest.mark.parametrize("length", [1, 3, 4, 5, 8, 21])
def test_results_come_in_order_for_every_row_and_none_for_padding(length):
    data = {"a": np.arange(1.0, length + 1), "b": np.arange(2.0 * length).reshape(length, 2)}
    found = in_batches(lambda rows: (rows["a"] ** 2, rows["b"].sum(axis=1)), data, 4)
    np.testing.assert_allclose(found[0], data["a"] ** 2)
    np.testing.assert_allclose(found[1], data["b"].sum(axis=1))
    assert all(isinstance(leaf, np.ndarray) for leaf in found)


def test_an_accelerator_computes_a_batch_while_the_one_before_is_fetched(monkeypatch):
    order = []

    class Result:
        def __init__(self, rows):
            order.append("dispatched")
            self.rows = rows

        def __array__(self, dtype=None, copy=None):
            order.append("fetched")
            return np.asarray(2 * self.rows)

    for backend, expected in (("cpu", "dfdfdf"), ("gpu", "ddfdff")):
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        order.clear()
        np.testing.assert_array_equal(in_batches(Result, np.arange(10), 4), 2 * np.arange(10))
        assert "".join(what[0] for what in order) == expected


def test_all_batches_have_one_shape_so_that_a_function_compiles_once():
    traced = []

    @jax.jit
    def double(rows):
        traced.append(rows.shape)
        return 2 * rows

    found = in_batches(double, jnp.ones((10, 3)), 4)
    np.testing.assert_array_equal(found, np.full((10, 3), 2.0))
    assert traced == [(4, 3)]


def test_trees_that_fit_in_one_batch_have_few_shapes():
    shapes = set()

    def note(rows):
        shapes.add(rows.shape)
        return rows

    for length in range(1, 41):
        np.testing.assert_array_equal(in_batches(note, np.arange(length), 40), np.arange(length))
    assert shapes == {(16,), (32,), (40,)}
    shapes.clear()
    for length in range(1, 13):
        found = in_batches(note, np.arange(length), 12, smallest=1)
        np.testing.assert_array_equal(found, np.arange(length))
    assert shapes == {(1,), (2,), (4,), (8,), (12,)}


def test_an_error_in_any_batch_is_the_callers():
    def refuse(rows):
        if rows[0] >= 8:
            raise ValueError("the third batch")
        return rows

    with pytest.raises(ValueError, match="the third batch"):
        in_batches(refuse, np.arange(20.0), 4)


@pytest.mark.parametrize(("length", "sizes"), [(1, [3]), (4, [6]), (13, [12, 12])])
def test_batches_are_a_multiple_of_the_smallest(length, sizes):
    seen = []

    def double(rows):
        seen.append(len(rows))
        return 2 * rows

    found = in_batches(double, np.arange(length), 12, smallest=3)
    np.testing.assert_array_equal(found, 2 * np.arange(length))
    assert seen == sizes
