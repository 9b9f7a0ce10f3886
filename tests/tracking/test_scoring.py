"""Scores of tracks with a truth that can be scored by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax import DistaxError, make_targets
from distax.tracking import Tracks, assess_tracks

FRAMES = 10
# Three targets at rest, a pixel apart.
TRUE = np.tile(np.array([[2.0, 2.0], [2.0, 3.0], [2.0, 4.0]]), (1, FRAMES, 1, 1))


def targets(position, mask=None):
    shape = position.shape[:-1]
    mask = np.ones(shape, bool) if mask is None else mask
    return make_targets(jnp.float32(position), jnp.full(shape, 230.0), jnp.asarray(mask))


def tracks(position, mask=None):
    found = targets(position, mask)
    return Tracks(
        targets=found,
        velocity=jnp.zeros_like(found.position),
        detection=jnp.where(found.mask, 0, -1),
    )


def assess(position, mask=None):
    return assess_tracks(targets(TRUE), tracks(position, mask), targets(TRUE))


def test_perfect_tracks():
    result = assess(TRUE[:, :, ::-1])
    assert (result.sequences, result.frames) == (1, 10)
    assert result.share_tracked == result.single.cso_map == result.tracked.cso_map == 1.0
    assert result.share_whole == 1.0
    assert (result.rmse, result.false_tracks, result.identity_switches) == (0.0, 0.0, 0.0)


def test_errors_are_root_mean_squares_over_frames():
    moved = TRUE.copy()
    moved[:, ::2, 0, 0] += 0.2
    moved[:, :, 1, 1] += 0.1
    result = assess(moved)
    own = np.array([0.2 / np.sqrt(2), 0.1, 0.0])
    assert result.rmse == pytest.approx(np.sqrt(np.mean(own**2)), rel=1e-4)
    assert result.median_rmse == pytest.approx(0.1, rel=1e-4)
    assert result.single.cso_map == 1.0
    assert result.tracked.ap["0.05"] < result.tracked.ap["0.15"] < result.tracked.ap["0.25"]


def test_a_track_that_is_far_or_ends_early_follows_no_target():
    moved, mask = TRUE.copy(), np.ones(TRUE.shape[:-1], bool)
    moved[:, :, 0, 0] += 0.3
    mask[:, 4:, 1] = False
    result = assess(moved, mask)
    assert result.share_tracked == result.share_whole == pytest.approx(1 / 3)
    assert result.false_tracks == pytest.approx(2 / 3)
    assert result.tracked.count_accuracy == pytest.approx(0.4)
    mask[:, 4, 1] = True
    half = assess(moved, mask)
    assert (half.share_tracked, half.share_whole) == pytest.approx((2 / 3, 1 / 3))


def test_swapped_tracks_are_two_identity_switches():
    swapped = TRUE.copy()
    swapped[:, 6:, [0, 1]] = swapped[:, 6:, [1, 0]]
    result = assess(swapped)
    assert result.identity_switches == pytest.approx(2 / 3)
    assert result.tracked.cso_map == 1.0
    assert result.share_tracked == pytest.approx(1 / 3)


def test_a_target_keeps_its_track_while_it_is_near():
    """A second track that comes nearer for a while is no identity switch."""
    extra = np.concatenate([TRUE, TRUE[:, :, :1]], axis=2)
    extra[:, 5:, 0, 0] += 0.2
    extra[:, :5, 3, 0] += 0.22
    assert assess(extra).identity_switches == 0.0


def test_no_tracks_at_all():
    result = assess(TRUE, np.zeros(TRUE.shape[:-1], bool))
    assert result.share_tracked == result.tracked.cso_map == 0.0
    assert result.rmse is result.median_rmse is result.false_tracks is None


def test_sequences_add_up():
    moved = TRUE.copy()
    moved[:, 5:, 0] += 9.0
    double = np.concatenate([TRUE, moved])
    truth = targets(TRUE.repeat(2, axis=0))
    both = assess_tracks(truth, tracks(double), truth)
    assert both.share_tracked == pytest.approx(5 / 6)
    assert both.frames == 20


def test_answers_to_other_sequences_are_refused():
    cut = jax.tree.map(lambda leaf: leaf[:, :5], tracks(TRUE))
    with pytest.raises(DistaxError, match=r"cannot be scored against \(1, 10\)"):
        assess_tracks(targets(TRUE), cut, targets(TRUE))
    nothing, no_tracks = (
        jax.tree.map(lambda leaf: leaf[:0], tree) for tree in (targets(TRUE), tracks(TRUE))
    )
    with pytest.raises(DistaxError, match="no sequences"):
        assess_tracks(nothing, no_tracks, nothing)


def test_sequences_without_targets_have_no_share_of_them():
    nothing = np.zeros(TRUE.shape[:-1], bool)
    empty = targets(TRUE, nothing)
    evaluation = assess_tracks(empty, tracks(TRUE, nothing), empty)
    assert evaluation.share_tracked is None
    assert evaluation.identity_switches is None


def test_tracks_have_mota_idf1_hota_and_gospa():
    swapped = TRUE.copy()
    swapped[:, 5:, [0, 1]] = swapped[:, 5:, [1, 0]]
    result = assess(swapped)
    assert result.mota == pytest.approx(1 - 2 / 30)
    assert result.idf1 == pytest.approx((5 + 5 + 10) / 30)
    assert result.detection_accuracy == 1.0
    # Two of three targets share 5 of 15 frames with their tracks.
    assert result.association_accuracy == pytest.approx((1 / 3 + 1 / 3 + 1) / 3)
    assert result.hota == pytest.approx(np.sqrt(5 / 9))
    moved = TRUE.copy()
    moved[:, :, 0, 0] += 0.1
    frames = assess(moved)
    assert frames.tracked.gospa == pytest.approx(0.1, rel=1e-4)
    assert frames.single.gospa == 0.0
    assert frames.tracked.rates["0.05"]["recall"] == pytest.approx(2 / 3)
    assert frames.intervals is None


def test_intervals_are_of_draws_of_sequences():
    moved = TRUE.copy()
    moved[:, :, 0] += 9.0
    double = np.concatenate([TRUE, moved])
    truth = targets(TRUE.repeat(2, axis=0))
    ends = assess_tracks(truth, tracks(double), truth).intervals
    assert ends["share_tracked"] == pytest.approx([2 / 3, 1.0])
    assert ends["mota"] == pytest.approx([1 / 3, 1.0])
    assert ends["single"]["cso_map"] == [1.0, 1.0]
    low, high = ends["tracked"]["rates"]["0.25"]["recall"]
    assert (low, high) == pytest.approx((2 / 3, 1.0))
