import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distax.metrics import ExactSum

ALL = np.True_
# One length, so that everything compiles once.
values = st.lists(
    st.floats(-(2.0**23), 2.0**23, width=32, allow_subnormal=False), min_size=12, max_size=12
)


def total(numbers):
    numbers = jnp.asarray(numbers, jnp.float32)
    return ExactSum.of(numbers, jnp.ones(numbers.shape, bool))


@given(values, st.permutations(range(12)))
def test_any_order_and_any_grouping_give_the_same_digits(numbers, order):
    numbers = np.float32(numbers)
    whole = total(numbers)
    shuffled = total(numbers[np.array(order)])
    parts = jax.tree.map(jnp.add, total(numbers[:4]), total(numbers[4:]))
    for other in (shuffled, parts):
        jax.tree.map(np.testing.assert_array_equal, whole, other)


@given(values)
def test_the_sum_is_right_within_float32_and_the_last_digit(numbers):
    exact = math.fsum(np.float64(np.float32(numbers)))
    size = math.fsum(np.abs(np.float64(np.float32(numbers))))
    assert float(total(numbers).total) == pytest.approx(
        exact, rel=1e-6, abs=12 * 2.0**-32 + 1e-6 * size
    )


def test_small_values_are_not_lost_beside_large_ones():
    numbers = np.float32([2.0**20] + [2.0**-20] * 4096)
    digits = jax.tree.map(np.float64, total(numbers).digits)
    weights = 2.0 ** (16 - 8 * np.arange(7))
    assert float(digits @ weights) == 2.0**20 + 2.0**-8
    assert float(np.sum(numbers, dtype=np.float32)) != 2.0**20 + 2.0**-8


def test_only_masked_values_are_summed_along_the_given_axes():
    numbers = jnp.arange(12.0).reshape(3, 4)
    sums = ExactSum.of(numbers, numbers % 2 == 0, axis=0)
    np.testing.assert_array_equal(sums.total, [12.0, 0.0, 18.0, 0.0])


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 2.0**24])
def test_values_that_cannot_be_summed_make_the_sum_infinite(value):
    assert float(total([1.0, value]).total) == np.inf
    left_out = ExactSum.of(jnp.array([1.0, value]), jnp.array([True, False]))
    assert float(left_out.total) == 1.0
