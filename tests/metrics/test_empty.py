"""Metrics take targets without any slot as they take slots of padding."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax import DistaxError, Sensor, make_targets
from distax.evaluation import assess, assess_sequences
from distax.imaging.targets import with_slots
from distax.metrics import (
    RADII,
    CsoSums,
    DetectionSums,
    IdentitySums,
    LocalizationSums,
    assign,
    cramer_rao,
    cso_map,
    draw_groups,
    gospa,
    match,
    pair_near,
    pair_within,
)
from distax.metrics.sequence_rates import scan_match
from distax.tracking import Tracks, assess_tracks

IMAGES = 3
SIZES = [(0, 2), (2, 0), (0, 0)]
radii = jnp.array(RADII)


def targets(slots, *batch):
    shape = (*(batch or (IMAGES,)), slots)
    position = np.random.default_rng(slots).uniform(4, 6, (*shape, 2)).astype(np.float32)
    return make_targets(jnp.asarray(position), jnp.full(shape, 200.0))


def padded(targets):
    """Gives no slots two of padding: one shape, and so one program, for all sizes."""
    return with_slots(targets, 2)


def detection_sums(found, truth):
    return DetectionSums.of(found, truth, pair_within(found, truth, radii))


def localization_sums(found, truth):
    return LocalizationSums.of(found, truth, assign(found, truth))


@pytest.mark.parametrize(("found", "true"), SIZES)
@pytest.mark.parametrize(
    "metric",
    [cso_map, CsoSums.of, gospa, detection_sums, localization_sums, IdentitySums.of, assess],
)
def test_no_slots_score_as_padding_does(metric, found, true):
    found, true = targets(found), targets(true)
    jax.tree.map(
        np.testing.assert_array_equal,
        jax.tree.leaves(metric(found, true)),
        jax.tree.leaves(metric(padded(found), padded(true))),
    )


@pytest.mark.parametrize(("found", "true"), SIZES)
@pytest.mark.parametrize(
    ("pair", "shape"),
    [
        (partial(match, radii=radii), lambda found, true: (IMAGES, found, len(RADII))),
        (partial(pair_within, radii=radii), lambda found, true: (IMAGES, found, len(RADII))),
        (partial(scan_match, radii=radii), lambda found, true: (IMAGES, true, len(RADII))),
        (lambda *pair: assign(*pair).partner, lambda found, true: (IMAGES, found)),
    ],
)
def test_no_slots_have_no_partner(pair, shape, found, true):
    partners = pair(targets(found), targets(true))
    assert partners.shape == shape(found, true)
    assert (partners <= 0).all()  # −1, or False


@pytest.mark.parametrize(("found", "true"), SIZES)
def test_sequences_without_slots_score_as_padding_does(found, true):
    found, true = targets(found, 2, 6), targets(true, 2, 6)
    empty = padded(found), padded(true)
    assert assess_sequences(found, true).to_dict() == assess_sequences(*empty).to_dict()


@pytest.mark.parametrize(("found", "true"), SIZES)
def test_tracks_without_slots_score_as_padding_does(found, true):
    found, true = targets(found, 2, 4), targets(true, 2, 4)

    def score(found, true):
        zeros = jnp.zeros((*found.mask.shape, 2))
        tracks = Tracks(found, velocity=zeros, detection=jnp.zeros(found.mask.shape, int))
        return assess_tracks(found, tracks, true).to_dict()

    assert score(found, true) == score(padded(found), padded(true))


def test_no_slots_have_no_bound():
    assert cramer_rao(targets(0), Sensor()).shape == (IMAGES, 0, 2, 2)


def test_a_slot_is_added_to_every_field():
    answer = make_targets(jnp.zeros((IMAGES, 0, 2)), jnp.zeros((IMAGES, 0)))
    padded = with_slots(answer)
    assert not padded.mask.any()
    assert {leaf.shape[:2] for leaf in jax.tree.leaves(padded)} == {(IMAGES, 1)}
    assert with_slots(padded) is padded


def test_nothing_to_draw_is_refused():
    with pytest.raises(DistaxError, match="items must be greater than 0, got 0"):
        draw_groups(0)


def test_points_that_are_not_finite_are_left_over():
    found = np.array([[np.nan, 1.0], [1.0, 1.0], [np.inf, 0.0]])
    true = np.array([[np.nan, np.nan], [1.0, 1.2]])
    assert pair_near(found, true).tolist() == [-1, 1, -1]
    assert pair_near(found[:1], true).tolist() == [-1]
