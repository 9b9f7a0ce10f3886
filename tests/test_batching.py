import numpy as np
import pytest

from distax.batching import padded_batches


@pytest.mark.parametrize("length", [1, 3, 4, 5, 8])
def test_every_row_comes_once_in_order_and_padding_is_marked(length):
    data = {"a": np.arange(1, length + 1), "b": np.ones((length, 2))}
    batches = list(padded_batches(data, 4))
    assert all(batch["a"].shape == (4,) and batch["b"].shape == (4, 2) for batch, _ in batches)
    rows = np.concatenate([batch["a"][valid] for batch, valid in batches])
    np.testing.assert_array_equal(rows, data["a"])
    assert sum(float(batch["b"].sum()) for batch, _ in batches) == 2 * length
