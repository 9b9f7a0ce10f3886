import itertools
from functools import partial

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax import DistaxError, make_targets
from distax.metrics import gospa

FOUND, TRUE = 4, 3
CUTOFF = 0.5
jitted = jax.jit(gospa, static_argnames=("cutoff", "order"))


def target_sets(slots):
    return st.builds(
        lambda position, mask: make_targets(
            jnp.float32(position / 8), jnp.ones((1, slots)), jnp.asarray(mask)
        ),
        hnp.arrays(np.int8, (1, slots, 2), elements=st.integers(0, 6)),
        hnp.arrays(bool, (1, slots)),
    )


def naive(found, truth, order):
    """Computes equation 3 of the paper with α = 2: a minimum over all assignments."""
    x, y = (np.asarray(t.position)[0][np.asarray(t.mask)[0]] for t in (truth, found))
    if len(x) > len(y):
        x, y = y, x
    best = min(
        sum(min(np.linalg.norm(a - y[j]), CUTOFF) ** order for a, j in zip(x, chosen, strict=True))
        for chosen in itertools.permutations(range(len(y)), len(x))
    )
    return (best + CUTOFF**order / 2 * (len(y) - len(x))) ** (1 / order)


@pytest.mark.parametrize("order", [1.0, 2.0])
@hypothesis.given(target_sets(FOUND), target_sets(TRUE))
def test_it_is_the_minimum_over_all_assignments(order, found, truth):
    result = jitted(found, truth, cutoff=CUTOFF, order=order)
    assert float(result.distance[0]) == pytest.approx(naive(found, truth, order), abs=1e-5)
    parts = result.localization + result.missed + result.false
    np.testing.assert_allclose(parts ** (1 / order), result.distance, atol=1e-6)


@hypothesis.given(target_sets(FOUND), target_sets(FOUND), target_sets(FOUND))
def test_it_is_a_metric(one, two, three):
    def apart(a, b):
        return float(jitted(a, b, cutoff=CUTOFF).distance[0])

    assert apart(one, one) == pytest.approx(0.0, abs=1e-6)
    assert apart(one, two) == pytest.approx(apart(two, one), abs=1e-6)
    assert apart(one, three) <= apart(one, two) + apart(two, three) + 1e-5


def at(*rows):
    return make_targets(jnp.array([[[row, 0.0] for row in rows]]), jnp.ones((1, len(rows))))


def test_parts_by_hand():
    # One pair 0.1 apart; the other two are too far apart to be a pair.
    result = jitted(at(1.0, 3.0), at(1.1, 2.0), cutoff=0.25)
    np.testing.assert_allclose(result.localization, [0.01], rtol=1e-4)
    np.testing.assert_allclose(result.missed, [0.25**2 / 2], rtol=1e-5)
    np.testing.assert_allclose(result.false, [0.25**2 / 2], rtol=1e-5)
    np.testing.assert_allclose(result.distance, [np.sqrt(0.01 + 0.25**2)], rtol=1e-4)


def test_it_is_the_same_batched_and_vmapped():
    rng = np.random.default_rng(0)
    found, truth = (
        make_targets(
            jnp.float32(rng.uniform(0, 1, (9, slots, 2))),
            jnp.ones((9, slots)),
            jnp.asarray(rng.random((9, slots)) < 0.7),
        )
        for slots in (FOUND, TRUE)
    )
    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=1e-6),
        jax.vmap(gospa)(found, truth),
        jitted(found, truth),
    )


def test_a_cutoff_and_an_order_that_make_no_metric_are_refused():
    with pytest.raises(DistaxError, match="cutoff must be greater than 0"):
        gospa(at(1.0), at(1.0), cutoff=0.0)
    with pytest.raises(DistaxError, match=r"order must be at least 1, got 0.5"):
        gospa(at(1.0), at(1.0), order=0.5)


@pytest.mark.parametrize(("order", "cutoff"), [(1.0, 1e6), (2.0, 300.0), (2.0, 1e6), (3.0, 1e4)])
def test_large_cutoffs_leave_the_distances_apart(order, cutoff):
    found = make_targets(jnp.float32([[[0, 0], [0, 0.05]]]), jnp.ones((1, 2)))
    true = make_targets(jnp.float32([[[0, 0.049], [0, 0.001]]]), jnp.ones((1, 2)))
    result = gospa(found, true, cutoff, order)
    assert float(result.distance[0]) == pytest.approx((2 * 0.001**order) ** (1 / order), rel=1e-3)
