import itertools

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax import DistaxError, make_targets
from distax.metrics import match, pair_within
from distax.metrics.matching import (
    all_best_partners,
    best_partners,
)
from distax.metrics.matching import (
    all_best_partners_on_host as on_host,
)

# Positions on a lattice of 1/8 px: distances that equal a radius or each other do so exactly.
RADII = (0.125, 0.25, 0.625)
IMAGES, FOUND, TRUE = 4, 5, 3
jitted, paired = jax.jit(match), jax.jit(pair_within)
partners, on_device = jax.jit(best_partners), jax.jit(all_best_partners)


def target_sets(slots, images=IMAGES):
    """Draws random targets, many of which share positions or scores, or are padding."""
    lattice = st.integers(0, 6)
    return st.builds(
        lambda position, score, mask: make_targets(
            jnp.float32(position / 8), jnp.float32(score), jnp.asarray(mask)
        ),
        hnp.arrays(np.int8, (images, slots, 2), elements=lattice),
        hnp.arrays(np.int8, (images, slots), elements=st.integers(1, 5)),
        hnp.arrays(bool, (images, slots)),
    )


def naive_match(found, truth, radius):
    """Matches by the protocol, one detection at a time."""
    found, truth = (jax.tree.map(np.asarray, targets) for targets in (found, truth))
    hit = np.zeros(found.mask.shape, bool)
    for image in range(len(hit)):
        free = set(np.flatnonzero(truth.mask[image]).tolist())
        present = sorted(free)
        slots = np.flatnonzero(found.mask[image]).tolist()
        for slot in sorted(slots, key=lambda slot: -found.score[image, slot]):  # a stable sort
            if not present:
                continue
            distance = [
                np.hypot(*(found.position[image, slot] - truth.position[image, target]))
                for target in present
            ]
            nearest = present[int(np.argmin(distance))]
            if min(distance) <= radius and nearest in free:
                free.remove(nearest)
                hit[image, slot] = True
    return hit


@hypothesis.given(target_sets(FOUND), target_sets(TRUE))
def test_match_agrees_with_one_detection_at_a_time(found, truth):
    hit = jitted(found, truth, jnp.array(RADII))
    for index, radius in enumerate(RADII):
        np.testing.assert_array_equal(hit[..., index], naive_match(found, truth, radius))


def one_image(position, score=None, mask=None):
    intensity = jnp.full(len(position), 240.0)
    score = None if score is None else jnp.array(score)
    return make_targets(
        jnp.array(position), intensity, None if mask is None else jnp.array(mask), score
    )


def hits(found, truth, radius=0.25):
    return match(found, truth, jnp.array([radius]))[:, 0].tolist()


def test_the_highest_score_of_several_detections_of_a_target_counts():
    found = one_image([[5.0, 5.0], [5.1, 5.0], [5.0, 5.2]], score=[1.0, 3.0, 2.0])
    assert hits(found, one_image([[5.0, 5.0]])) == [False, True, False]


def test_the_first_slot_of_equal_scores_counts():
    found = one_image([[5.2, 5.0], [5.0, 5.0]], score=[2.0, 2.0])
    assert hits(found, one_image([[5.0, 5.0]])) == [True, False]


def test_a_detection_gets_no_second_choice():
    # Both detections are nearest to the first target; the second target stays free.
    found = one_image([[5.0, 5.0], [5.0, 5.1]], score=[2.0, 1.0])
    truth = one_image([[5.0, 5.0], [5.0, 5.3]])
    assert hits(found, truth) == [True, False]


def test_padding_is_neither_nearest_nor_a_hit():
    found = one_image([[5.0, 5.0], [5.0, 5.0]], score=[9.0, 1.0], mask=[False, True])
    truth = one_image([[5.0, 5.0], [5.0, 5.2]], mask=[False, True])
    assert hits(found, truth) == [False, True]


def test_different_numbers_of_images_are_refused():
    found, truth = (make_targets(jnp.zeros((n, 2, 2)), jnp.ones((n, 2))) for n in (3, 1))
    with pytest.raises(DistaxError, match=r"of \(3,\) images .* truth of \(1,\); give both for"):
        match(found, truth, jnp.array(RADII))


def test_the_radius_is_inclusive():
    found, truth = one_image([[5.0, 5.0]]), one_image([[5.375, 5.5]])  # 0.625 px apart
    assert hits(found, truth, 0.625) == [True]
    assert hits(found, truth, 0.6249) == [False]


def test_match_is_the_same_batched_vmapped_and_eager():
    rng = np.random.default_rng(0)

    def random(slots):
        return make_targets(
            jnp.float32(rng.uniform(0, 1, (6, slots, 2))),
            jnp.float32(rng.uniform(1, 2, (6, slots))),
            jnp.asarray(rng.random((6, slots)) < 0.7),
        )

    found, truth, radii = random(FOUND), random(TRUE), jnp.array(RADII)
    batched = jitted(found, truth, radii)
    assert 0 < np.mean(batched) < 1
    vmapped = jax.vmap(match, in_axes=(0, 0, None))(found, truth, radii)
    np.testing.assert_array_equal(vmapped, batched)
    np.testing.assert_array_equal(match(found, truth, radii), batched)


@hypothesis.given(hnp.arrays(np.float32, (3, 4), elements=st.integers(-4, 8)))
def test_best_partners_have_the_largest_sum_of_benefits(benefit):
    partner = np.asarray(partners(benefit))
    pairs = [(row, column) for row, column in enumerate(partner) if column >= 0]
    assert len({column for _, column in pairs}) == len(pairs)
    assert all(benefit[pair] > 0 for pair in pairs)
    best = max(
        sum(max(benefit[row, column], 0) for row, column in enumerate(columns))
        for columns in itertools.permutations(range(4), 3)
    )
    assert sum(benefit[pair] for pair in pairs) == best


def naive_pairs(found, truth, radius):
    """Pairs of one image within a radius: the most, and of those the nearest, by trying all."""
    distance = np.full((FOUND, TRUE), np.inf)
    for slot, target in itertools.product(range(FOUND), range(TRUE)):
        if found.mask[slot] and truth.mask[target]:
            distance[slot, target] = np.hypot(*(found.position[slot] - truth.position[target]))
    best = (0, 0.0)
    for slots in itertools.permutations(range(FOUND), TRUE):
        near = [d for d in distance[slots, range(TRUE)] if d <= radius]
        best = min(best, (-len(near), sum(near)))
    return best


@hypothesis.given(target_sets(FOUND), target_sets(TRUE))
def test_pairs_within_a_radius_are_the_most_and_of_those_the_nearest(found, truth):
    partner = np.asarray(paired(found, truth, jnp.array(RADII)))
    found, truth = (jax.tree.map(np.asarray, targets) for targets in (found, truth))
    assert not (partner[~found.mask] >= 0).any()
    for image, (index, radius) in itertools.product(range(IMAGES), enumerate(RADII)):
        slots = np.flatnonzero(partner[image, :, index] >= 0)
        targets = partner[image, slots, index]
        assert len(set(targets.tolist())) == len(targets)
        assert truth.mask[image, targets].all()
        apart = np.linalg.norm(
            found.position[image, slots] - truth.position[image, targets], axis=-1
        )
        assert (apart <= radius).all()
        number, total = naive_pairs(
            *(jax.tree.map(lambda a, i=image: a[i], t) for t in (found, truth)), radius
        )
        assert len(slots) == -number
        assert apart.sum() == pytest.approx(total, abs=1e-5)


def test_a_pair_gives_way_where_that_makes_two():
    # The first detection is nearest to the first target, which the second alone can reach.
    found = one_image([[5.0, 5.0], [5.0, 4.8]])
    truth = one_image([[5.0, 5.0], [5.0, 5.2]])
    assert pair_within(found, truth, jnp.array([0.25]))[:, 0].tolist() == [1, 0]
    assert pair_within(found, truth, jnp.array([0.1]))[:, 0].tolist() == [0, -1]


@hypothesis.given(hnp.arrays(np.float32, (2, 3, 4), elements=st.integers(-4, 8)))
def test_partners_on_the_host_are_as_good(benefit):
    def total(partner):
        made = np.asarray(partner) >= 0
        taken = np.take_along_axis(benefit, np.maximum(partner, 0)[..., None], axis=-1)[..., 0]
        return np.where(made, taken, 0).sum(axis=-1)

    both = [total(np.asarray(solve(jnp.array(benefit)))) for solve in (on_host, on_device)]
    np.testing.assert_array_equal(*both)


def test_pairs_within_an_infinite_radius_are_the_nearest():
    found = make_targets(jnp.float32([[[0, 0], [0, 0.05]]]), jnp.ones((1, 2)))
    true = make_targets(jnp.float32([[[0, 0.049], [0, 0.001]]]), jnp.ones((1, 2)))
    assert pair_within(found, true, jnp.array([jnp.inf]))[0, :, 0].tolist() == [1, 0]


def test_a_target_at_nan_takes_no_other_targets_place():
    found = make_targets(jnp.float32([[[1, 1], [2, 2]]]), jnp.ones((1, 2)))
    true = make_targets(jnp.float32([[[jnp.nan, jnp.nan], [2, 2]]]), jnp.ones((1, 2)))
    assert match(found, true, jnp.array([0.1]))[0, :, 0].tolist() == [False, True]
