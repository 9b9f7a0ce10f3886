"""Intervals against the bootstrap over images, and against the spread that they estimate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax.metrics import GROUPS, bootstrap, draw_groups, sum_by_part
from distax.metrics.bootstrap import LEVEL


def ratio(sums):
    return {"ratio": sums["hits"] / sums["targets"]}


def in_groups(rows, items):
    return sum_by_part(rows, jnp.arange(items) % GROUPS, GROUPS)


def random_rows(items, seed=0):
    rng = np.random.default_rng(seed)
    targets = rng.integers(1, 6, items)
    return {"hits": jnp.array(rng.binomial(targets, 0.8)), "targets": jnp.array(targets)}


def test_up_to_the_number_of_groups_it_is_the_bootstrap_over_images():
    items = 40
    rows = random_rows(items)
    result = bootstrap(ratio, in_groups(rows, items), draw_groups(items))
    hits, targets = (np.asarray(rows[name], float) for name in ("hits", "targets"))
    assert result.value["ratio"] == pytest.approx(hits.sum() / targets.sum())
    drawn = np.random.default_rng(1).integers(0, items, (20_000, items))
    scores = hits[drawn].sum(axis=1) / targets[drawn].sum(axis=1)
    ends = np.quantile(scores, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    width = ends[1] - ends[0]
    assert result.low["ratio"] == pytest.approx(ends[0], abs=0.1 * width)
    assert result.high["ratio"] == pytest.approx(ends[1], abs=0.1 * width)


def test_the_true_value_is_in_95_percent_of_the_intervals():
    """Of 200 sets of 500 images each: 190 are expected, with a standard deviation of 3."""
    inside, draws = 0, draw_groups(500)
    for seed in range(200):
        result = bootstrap(ratio, in_groups(random_rows(500, seed), 500), draws)
        inside += bool(result.low["ratio"] <= 0.8 <= result.high["ratio"])
    assert 180 <= inside <= 199


def test_each_image_is_in_one_part_and_those_without_a_part_in_none():
    rows = {"number": jnp.arange(6), "table": jnp.ones((6, 2), int)}
    sums = sum_by_part(rows, jnp.array([0, 1, -1, 1, 0, -1]), 3)
    np.testing.assert_array_equal(sums["number"], [4, 4, 0])
    np.testing.assert_array_equal(sums["table"], [[2, 2], [2, 2], [0, 0]])


@pytest.mark.parametrize("items", [1, 7, GROUPS, 1234])
def test_draws_hold_as_many_groups_as_there_are(items):
    draws = draw_groups(items)
    used = min(items, GROUPS)
    assert (draws.sum(axis=1) == used).all()
    assert not draws[:, used:].any()
    np.testing.assert_array_equal(draws, draw_groups(items))


def test_draws_without_a_score_are_left_out_of_its_interval():
    """One image of five has targets, and a third of the draws miss it."""
    rows = {"hits": jnp.array([3, 0, 0, 0, 0]), "targets": jnp.array([4, 0, 0, 0, 0])}
    result = bootstrap(ratio, in_groups(rows, 5), draw_groups(5))
    assert (result.low["ratio"], result.high["ratio"]) == (0.75, 0.75)
    nothing = jax.tree.map(jnp.zeros_like, rows)
    undefined = bootstrap(ratio, in_groups(nothing, 5), draw_groups(5))
    assert np.isnan(
        [undefined.value["ratio"], undefined.low["ratio"], undefined.high["ratio"]]
    ).all()
