"""Tracks through whole frames, from simulated detections whose errors are known."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from distax import DistaxError, Sensor, make_targets
from distax.frames import FramePrior, FrameTargets, FrameUnmixer
from distax.frames.background import Background
from distax.frames.blobs import Blobs
from distax.tracking import (
    FrameSequence,
    FrameTracker,
    Shifts,
    assess_tracks,
    simulate_frames,
    track_frames,
)

SHAPE, FRAMES, STD = (120, 150), 16, 0.1


def seen(position, std=STD, misfit=1.0, shape=SHAPE):
    """What unmixing a frame answers: targets at `position`, whose errors have `std`."""
    position = np.asarray(position, float).reshape(-1, 2)
    number = len(position)
    std = np.broadcast_to(std, number)
    targets = make_targets(position, np.full(number, 500.0), np.ones(number, bool))
    flat = np.ones((1, 1))
    return FrameTargets(
        targets=replace(targets, covariance=std[:, None, None] ** 2 * np.eye(2)),
        blob=np.arange(number),
        flags=np.zeros(number, int),
        misfit=np.full(number, misfit),
        count_probability=np.ones(number),
        blobs=Blobs(pixel=np.zeros((number, 2), int), signal_to_noise=np.full(number, 10.0)),
        local_level=np.zeros(number),
        background=Background(level=100 * flat, noise=2 * flat, box=shape, shape=shape),
        threshold=5.0,
    )


def observed(truth, rng, std=STD, clutter=0.0):
    """Detections of true positions `[T, L, 2]`, NaN where there is none, in random order."""
    found = []
    for place in truth:
        there = place[np.isfinite(place[:, 0])]
        false = rng.uniform(0, 1, (rng.poisson(clutter), 2)) * np.array(SHAPE)
        noisy = np.concatenate([there + std * rng.normal(size=there.shape), false])
        found.append(seen(rng.permutation(noisy), std))
    return found


def moving(rng, number, jitter=0.0, frames=FRAMES, speed=0.8):
    """Straight paths under a shaking camera: places in the frames, velocities, shifts."""
    start = rng.uniform(25, np.array(SHAPE) - 25, (number, 2))
    velocity = rng.uniform(-speed, speed, (number, 2))
    shift = jitter * rng.normal(size=(frames, 2))
    time = np.arange(frames)[:, None, None]
    return start + time * velocity + shift[:, None], velocity, shift


def without_trend(shift):
    time = np.stack([np.ones(len(shift)), np.arange(len(shift))], axis=1)
    return shift - time @ np.linalg.lstsq(time, shift, rcond=None)[0]


def followed(tracks, place):
    """Returns the slot of the track nearest to a true path `[T, 2]` in the mean."""
    distance = np.linalg.norm(tracks.targets.position - place[:, None], axis=-1)
    both = tracks.targets.mask & np.isfinite(distance)
    mean = np.where(both, distance, 0.0).sum(axis=0) / np.maximum(both.sum(axis=0), 1)
    return int(np.argmin(np.where(both.any(axis=0), mean, np.inf)))


@pytest.mark.parametrize("jitter", [0.0, 0.5])
def test_targets_are_followed_and_stated_errors_are_true(jitter):
    squares, drifts = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        truth, velocity, shift = moving(rng, 8, jitter)
        result = track_frames(observed(truth, rng, clutter=0.3))
        tracks = result.tracks
        assert tracks.targets.mask.shape == (FRAMES, 8)
        assert result.camera.source == "targets"
        error = result.camera.shift - without_trend(shift)
        assert np.abs(error).max() < (0.25 if jitter else 0.1)
        for place, speed in zip(np.moveaxis(truth, 1, 0), velocity, strict=True):
            slot = followed(tracks, place)
            assert tracks.targets.mask[:, slot].all()
            off = tracks.targets.position[:, slot] - place
            inverse = np.linalg.inv(tracks.targets.covariance[:, slot])
            squares.append(np.einsum("ni,nij,nj->n", off, inverse, off) / 2)
            off = tracks.velocity[8, slot] - speed
            drifts.append(off @ np.linalg.inv(tracks.velocity_covariance[8, slot]) @ off / 2)
    assert 0.85 < np.sqrt(np.concatenate(squares).mean()) < 1.15
    # The chance trend of the jitter is common to all, so that only 12 numbers are independent.
    assert 0.7 < np.sqrt(np.mean(drifts)) < 1.3
    assert 0.8 < np.median(result.misfit) < 1.2


def test_the_jitter_is_removed_from_paths():
    rng = np.random.default_rng(3)
    truth, _, _ = moving(rng, 8, 0.5)
    found = observed(truth, rng)
    errors = {}
    for motion in ("targets", "none"):
        tracks = track_frames(found, FrameTracker(camera_motion=motion)).tracks
        scores = []
        for place in np.moveaxis(truth, 1, 0):
            slot = followed(tracks, place)
            alive = tracks.targets.mask[:, slot]
            scores.append(np.linalg.norm(tracks.targets.position[alive, slot] - place[alive]))
        errors[motion] = np.sqrt(np.mean(np.square(scores)) / FRAMES)
    assert errors["targets"] < 0.1
    assert errors["none"] > 3 * errors["targets"]


def test_a_jolt_beyond_the_gates_breaks_no_track():
    rng = np.random.default_rng(4)
    truth, _, shift = moving(rng, 8, 0.3)
    jolt = np.zeros((FRAMES, 2))
    jolt[9] = 2.5, -2.0
    result = track_frames(observed(truth + jolt[:, None], rng))
    assert result.tracks.targets.mask.shape == (FRAMES, 8)
    assert np.mean(result.tracks.detection >= 0) > 0.97
    assert np.abs(result.camera.shift - without_trend(shift + jolt)).max() < 0.2


@pytest.mark.parametrize(("gap", "tracks"), [(3, 1), (4, 2)])
def test_gaps_up_to_the_limit_are_bridged(gap, tracks):
    rng = np.random.default_rng(0)
    truth, _, _ = moving(rng, 1)
    truth[6 : 6 + gap] = np.nan
    result = track_frames(observed(truth, rng, 0.05)).tracks
    assert result.targets.mask.shape[1] == tracks
    detected = np.any(result.detection >= 0, axis=1)
    np.testing.assert_array_equal(detected, np.isfinite(truth[:, 0, 0]))
    if tracks == 1:
        assert result.targets.mask.all()


def test_a_frame_that_could_not_be_used_is_a_gap():
    rng = np.random.default_rng(1)
    truth, _, _ = moving(rng, 4, 0.3)
    found = observed(truth, rng)
    found[7] = None
    result = track_frames(found)
    assert result.tracks.targets.mask.all()
    assert (result.tracks.detection[7] == -1).all()
    # The shift of that frame is not known, so that its positions have the jitter's error.
    assert result.camera.std[7].min() > 0.15
    assert result.tracks.targets.covariance[7, :, 0, 0].min() > 0.15**2


def test_tracks_are_born_and_die():
    rng = np.random.default_rng(2)
    truth, _, _ = moving(rng, 5)
    truth[:5, 0] = truth[11:, 1] = np.nan
    tracks = track_frames(observed(truth, rng)).tracks
    for number in (0, 1, 2):
        alive = tracks.targets.mask[:, followed(tracks, truth[:, number])]
        np.testing.assert_array_equal(alive, np.isfinite(truth[:, number, 0]))


def test_clutter_makes_no_tracks():
    rng = np.random.default_rng(5)
    truth, _, _ = moving(rng, 3)
    truth[:, 2] = np.nan
    tracks = track_frames(observed(truth, rng, clutter=4.0)).tracks
    assert tracks.targets.mask.shape[1] == 2


@pytest.mark.parametrize(("doubtful", "tracks"), [(6, 0), (2, 1)])
def test_doubtful_detections_count_half(doubtful, tracks):
    misfits = [3.0] * doubtful + [1.0] * (6 - doubtful)
    found = [seen([[50 + 0.3 * t, 60.0]], misfit=misfit) for t, misfit in enumerate(misfits)]
    result = track_frames(found)
    assert result.tracks.targets.mask.shape[1] == tracks
    assert result.trusted.tolist() == pytest.approx([1 - doubtful / 6] * tracks)


def test_a_bright_target_that_turns_does_not_lead_the_camera():
    rng = np.random.default_rng(7)
    truth, _, _ = moving(rng, 8)
    turn = 0.02 * (np.arange(FRAMES) - 7.5)[:, None] ** 2 * np.array([1.0, -0.5])
    truth[:, 0] += turn
    noisy = truth + STD * rng.normal(size=truth.shape)
    noisy[:, 0] = truth[:, 0] + 0.01 * rng.normal(size=(FRAMES, 2))
    found = [seen(place, std=[0.01] + [STD] * 7) for place in noisy]
    result = track_frames(found, FrameTracker(camera_motion="targets"))
    assert np.abs(result.camera.shift).max() < 0.15
    slot = followed(result.tracks, truth[:, 0])
    assert result.misfit[slot] > 3
    assert np.delete(result.misfit, slot).max() < 1.6


def test_a_single_target_that_jitters_has_larger_errors_and_no_camera():
    rng = np.random.default_rng(8)
    truth, _, shift = moving(rng, 1, 0.3)
    result = track_frames(observed(truth, rng, 0.02))
    assert result.camera.source == "none"
    assert result.misfit[0] > 5
    tracks = result.tracks
    assert tracks.targets.mask.all()
    off = tracks.targets.position[:, 0] - (truth[:, 0] - without_trend(shift))
    spread = np.sqrt(tracks.targets.covariance[:, 0, 0, 0])
    assert np.abs(off).max() < 4 * spread.max()


def test_shifts_of_the_scene_are_taken_for_few_targets():
    rng = np.random.default_rng(9)
    truth, velocity, shift = moving(rng, 1, 0.5)
    drift = np.arange(FRAMES)[:, None] * np.array([0.4, 0.2])
    known = Shifts("scene", shift + drift, np.tile(1e-4 * np.eye(2), (FRAMES, 1, 1)))
    result = track_frames(observed(truth + drift[:, None], rng, 0.05), scene=known)
    assert result.camera.source == "scene"
    np.testing.assert_allclose(result.tracks.velocity[:, 0], velocity[0] + 0 * shift, atol=0.02)
    assert result.misfit[0] < 1.5


def test_frames_that_cannot_be_tracked_are_refused():
    one, other = seen([[50.0, 50.0]]), seen([[50.0, 50.0]], shape=(64, 64))
    with pytest.raises(DistaxError, match="3 frames are too few: a track needs 4 detections"):
        track_frames([one] * 3)
    with pytest.raises(DistaxError, match="frame 2 has 64×64 px, frame 0 has 120×150"):
        track_frames([one, one, other, one])
    with pytest.raises(DistaxError, match="from the scene, which does not show it"):
        track_frames([one] * 4, FrameTracker(camera_motion="scene"))


def test_frames_without_targets_have_no_tracks():
    result = track_frames([seen([])] * 5)
    assert result.tracks.targets.mask.shape == (5, 0)
    assert result.camera.source == "none"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"speed": 0.0}, "speed must be greater than 0"),
        ({"camera_motion": "target"}, "did you mean 'targets'"),
        ({"gate_probability": 1.0}, "gate_probability must lie between 0 and 1"),
        ({"max_missed_detections": -1}, "max_missed_detections must not be negative"),
    ],
    ids=str,
)
def test_trackers_that_make_no_sense_are_refused(fields, message):
    with pytest.raises(DistaxError, match=message):
        FrameTracker(**fields)


def test_simulated_frames_are_tracked_from_their_pixels():
    content = FrameSequence(
        height=90, width=110, frames=8, targets=5, intensity=(400.0, 800.0), short=0.0
    )
    pixels, truth = simulate_frames(jax.random.key(1), content)
    unmixer = FrameUnmixer(
        sensor=Sensor(saturation=None, bit_depth=None), prior=FramePrior(max_targets=2, cluster=1.0)
    )
    result = track_frames([unmixer(frame) for frame in pixels])
    batch = jax.tree.map(lambda leaf: np.asarray(leaf)[None], (result.tracks, truth.targets))
    score = assess_tracks(batch[0].targets, *batch)
    assert score.share_whole == 1.0
    assert (score.false_tracks, score.identity_switches) == (0.0, 0.0)
    assert score.rmse < 0.05
    assert np.abs(result.camera.shift - without_trend(truth.shift)).max() < 0.1
