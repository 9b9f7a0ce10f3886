import jax
import numpy as np
import pytest

from distax.models.layers.windows import join_windows, pad_by_reflection, split_windows


def test_windows_hold_their_positions_row_by_row():
    maps = jax.random.normal(jax.random.key(0), (2, 4, 6, 3))
    windows = split_windows(maps, 2)
    assert windows.shape == (12, 4, 3)
    np.testing.assert_array_equal(windows[4], maps[0, 2:4, 2:4].reshape(4, 3))
    np.testing.assert_array_equal(join_windows(windows, 2, maps.shape), maps)


@pytest.mark.parametrize("side", [1, 4, 32])
def test_padding_reflects_as_often_as_it_takes(side):
    maps = jax.random.normal(jax.random.key(0), (2, 5, 4, 1))
    padded = np.asarray(maps)
    while missing := -padded.shape[1] % side:
        step = min(missing, padded.shape[1] - 1)
        padded = np.concatenate([padded, padded[:, -2 : -2 - step : -1]], axis=1)
    while missing := -padded.shape[2] % side:
        step = min(missing, padded.shape[2] - 1)
        padded = np.concatenate([padded, padded[:, :, -2 : -2 - step : -1]], axis=2)
    np.testing.assert_array_equal(pad_by_reflection(maps, side), padded)
