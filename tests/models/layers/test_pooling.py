import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax.models.layers.pooling import average_pool, max_pool, spread


def maps(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(("size", "stride"), [(2, 2), (3, 1), (2, 1), (3, 2)])
def test_max_pool(size, stride):
    x = maps(2, 7, 8, 3)
    expected = [
        [x[:, i : i + size, j : j + size].max(axis=(1, 2)) for j in range(0, 9 - size, stride)]
        for i in range(0, 8 - size, stride)
    ]
    expected = np.array(expected).transpose(2, 0, 1, 3)
    np.testing.assert_array_equal(max_pool(jnp.asarray(x), size, stride), expected)


def test_average_pool_drops_what_does_not_fill_a_cell():
    x = maps(2, 11, 9, 3)
    result = average_pool(jnp.asarray(x), 4)
    assert result.shape == (2, 2, 2, 3)
    np.testing.assert_allclose(
        result[:, 1, 0], x[:, 4:8, :4].mean(axis=(1, 2)), rtol=1e-6, atol=1e-7
    )


def test_spread_takes_the_nearest_sample():
    coarse = jnp.arange(2.0)[None, :, None, None] * 10 + jnp.arange(5.0)[None, None, :, None]
    fine = spread(coarse, 11, 11)[0, :, :, 0]
    rows = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1])
    columns = np.array([0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4])
    np.testing.assert_array_equal(fine, rows[:, None] * 10 + columns)


def test_the_gradient_of_spread_counts_copies():
    gradient = jax.grad(lambda x: spread(x, 5, 4).sum())(jnp.zeros((1, 2, 2, 1)))
    np.testing.assert_array_equal(gradient[0, :, :, 0], [[6, 6], [4, 4]])
