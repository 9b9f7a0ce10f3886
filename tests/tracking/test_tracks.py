"""Association and smoothing compared with the truth."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax import DistaxError, Sensor, Unmixer
from distax.metrics import assign, cso_map
from distax.tracking import MotionPrior, Tracker, track, unmix_sequences

FRAMES, SEQUENCES = 20, 16


def straight(*paths):
    """Positions `[SEQUENCES, FRAMES, 5, 2]` of targets that move straight.

    The shape is the same in all tests, so that they share one compiled tracker.
    """
    time = np.arange(FRAMES)[:, None]
    position = np.full((SEQUENCES, FRAMES, 5, 2), np.nan)
    for slot, (start, velocity) in enumerate(paths):
        position[:, :, slot] = np.array(start) + time * np.array(velocity)
    return position


def followed(tracks, position, slot):
    """The track nearest to a true target in each frame of each sequence."""
    distance = np.linalg.norm(tracks.targets.position - position[:, :, slot, None], axis=-1)
    return np.argmin(np.where(tracks.targets.mask, distance, np.inf), axis=-1)


def errors(found, truth):
    pairing = assign(found, truth)
    return np.asarray(pairing.distance)[np.asarray(pairing.paired)]


def test_tracks_beat_single_frames(simulated):
    found, tracks, truth = simulated
    truth = jax.tree.map(jnp.asarray, truth)
    alone, together = errors(found, truth), errors(tracks.targets, truth)
    assert np.sqrt(np.mean(alone**2)) > 0.07
    assert np.median(together) < 0.6 * np.median(alone)
    assert cso_map(tracks.targets, truth).mean > cso_map(found, truth).mean + 0.15


def test_the_number_of_tracks_is_that_of_the_targets(simulated):
    _, tracks, truth = simulated
    right = np.sum(tracks.exists, axis=-1) == truth.mask[:, 0].sum(axis=-1)
    assert right.mean() > 0.8


def test_stated_errors_of_a_single_target_are_true(detect):
    position = straight(((5.0, 5.0), (0.1, -0.05)))
    tracks = track(detect(position))
    own = tracks.targets.mask
    error = tracks.targets.position[own] - np.repeat(position[:, :, :1], 12, axis=2)[own]
    spread = np.linalg.inv(tracks.targets.covariance[own])
    assert own.sum() == SEQUENCES * FRAMES
    squares = np.einsum("ni,nij,nj->n", error, spread, error)
    assert 1.2 < squares.mean() < 3.0  # 2 on average, over 64 independent numbers
    assert np.sqrt(np.mean(error**2)) < 0.5 * 0.05


def test_targets_that_pass_each_other_keep_their_tracks(detect):
    position = straight(((5.0, 4.0), (0.0, 0.1)), ((5.0, 6.0), (0.0, -0.1)))
    tracks = track(detect(position, std=0.02), replace(Tracker(), drift_std=0.1))
    assert np.all(np.sum(tracks.exists, axis=-1) == 2)
    for slot in (0, 1):
        which = followed(tracks, position, slot)
        assert np.mean(which[:, 0] == which[:, -1]) == 1.0


def test_an_unresolved_detection_is_not_used(detect):
    """Targets that meet give one detection between them; both tracks bridge that frame."""
    position = straight(((5.0, 4.0), (0.0, 0.1)), ((5.03, 6.0), (0.0, -0.1)))
    position[:, 10, 1] = np.nan
    tracks = track(detect(position, std=0.02), replace(Tracker(), drift_std=0.1))
    exists = np.asarray(tracks.exists)
    assert np.all(exists.sum(axis=-1) == 2)
    there = np.asarray(tracks.targets.mask[:, 10])
    assert np.all(there.sum(axis=-1) == 2)
    assert np.mean(np.asarray(tracks.detection[:, 10])[there] == -1) > 0.9
    assert np.all(np.asarray(tracks.detection[:, 2])[np.asarray(tracks.targets.mask[:, 2])] >= 0)


def test_missed_detections_are_bridged_and_clutter_makes_no_tracks(detect):
    position = straight(((5.0, 5.0), (0.1, 0.0)))
    tracks = track(detect(position, missed=0.3, clutter=0.3))
    assert np.all(np.sum(tracks.exists, axis=-1) == 1)
    bridged = tracks.targets.mask & (tracks.detection < 0)
    assert bridged.sum() > 20
    error = tracks.targets.position - position[:, :, :1]
    assert np.abs(error[bridged]).max() < 0.2


def test_a_track_has_a_birth_and_a_death(detect):
    position = straight(((5.0, 5.0), (0.0, 0.1)))
    position[:, :4] = position[:, 15:] = np.nan
    tracks = track(detect(position))
    alive = np.any(tracks.targets.mask, axis=-1)
    lives = np.isfinite(position[..., 0]).any(axis=-1)
    np.testing.assert_array_equal(alive, lives)


def test_too_few_detections_are_no_track(detect):
    position = straight(((5.0, 5.0), (0.0, 0.1)))
    position[:, 3:] = np.nan
    assert not np.any(track(detect(position)).exists)


def test_estimators_without_covariance_use_position_std(detect):
    position = straight(((5.0, 5.0), (0.1, 0.0)))
    found = detect(position, std=0.1)
    silent = track(replace(found, covariance=None))
    np.testing.assert_allclose(silent.targets.position, track(found).targets.position, atol=1e-4)


def test_a_tracker_for_a_prior_expects_its_velocities():
    tracker = Tracker.for_prior(MotionPrior(speed=0.1, drift=0.04))
    assert (tracker.velocity_std, tracker.drift_std) == (0.05, 0.02)
    assert Tracker.for_prior(MotionPrior()) == Tracker()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"velocity_std": 0.0}, "velocity_std must be greater than 0"),
        ({"min_detections": 0}, "min_detections must be greater than 0"),
        ({"gate_probability": 1.0}, "gate_probability must lie between 0 and 1"),
        ({"max_missed_detections": -1}, "max_missed_detections must not be negative"),
    ],
    ids=str,
)
def test_trackers_that_make_no_sense_are_refused(fields, message):
    with pytest.raises(DistaxError, match=message):
        Tracker(**fields)


def test_frames_are_unmixed_each_on_its_own():
    unmixer = Unmixer.load("nnls")
    frames = np.zeros((2, 3, 11, 11), np.float32)
    frames[1, 2, 4, 7] = 200
    found = unmix_sequences(unmixer, frames)
    assert found.mask.shape[:2] == (2, 3)
    assert found.count.tolist()[0] == [0, 0, 0]
    whole = unmixer(frames.reshape(6, 11, 11))
    np.testing.assert_array_equal(found.position[1, 2], whole.position[5])


def test_frames_without_sequences_are_refused():
    with pytest.raises(DistaxError, match=r"shape \(3, 11, 11\); sequences have four axes"):
        unmix_sequences(Unmixer(method="refine", sensor=Sensor()), np.zeros((3, 11, 11)))
