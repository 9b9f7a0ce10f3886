import numpy as np
import pytest

from distax.tracking import FrameTracker
from distax.tracking.gating import Detections
from distax.tracking.kalman import States
from distax.tracking.linking import link, pair, relink

DENSITY = 1e-4


def detections(*frames, std=0.1):
    """Detections of frames, padded to four."""
    position, mask = np.zeros((len(frames), 4, 2)), np.zeros((len(frames), 4), bool)
    for time, places in enumerate(frames):
        position[time, : len(places)] = np.reshape(places, (-1, 2))
        mask[time, : len(places)] = True
    covariance = np.tile(std**2 * np.eye(2), (len(frames), 4, 1, 1))
    return Detections(position=position, covariance=covariance, mask=mask)


def test_pairs_have_the_largest_sum_and_none_without_benefit():
    ratio = np.array([[5.0, 4.0, 0.0], [4.9, 1.0, 0.0], [0.0, 0.0, -1.0], [0.0, 0.0, 0.0]])
    assert pair(ratio).tolist() == [1, 0, -1, -1]
    assert pair(np.zeros((0, 3))).tolist() == []


def test_crossing_targets_keep_their_tracks():
    time = np.arange(9)
    one = np.stack([np.zeros(9), time - 4.0], axis=1)
    other = np.stack([0.05 + np.zeros(9), 4.0 - time], axis=1)
    # The order changes from frame to frame.
    frames = [(a, b) if t % 2 else (b, a) for t, (a, b) in enumerate(zip(one, other, strict=True))]
    table = link(detections(*frames), FrameTracker(), DENSITY)
    expected = [[0, 1] if t % 2 == 0 else [1, 0] for t in range(9)]
    # In the middle both are at one place.
    assert np.delete(table, 4, axis=0).tolist() == np.delete(expected, 4, axis=0).tolist()


@pytest.mark.parametrize(("gap", "tracks"), [(3, 1), (4, 2)])
def test_a_track_ends_after_too_many_missed_detections(gap, tracks):
    seen = [[(0.5 * t, 0.0)] for t in range(12)]
    seen[5 : 5 + gap] = [()] * gap
    table = link(detections(*seen), FrameTracker(max_missed_detections=3), DENSITY)
    assert table.shape[1] == tracks
    assert (table >= 0).any(axis=1).tolist() == [bool(places) for places in seen]


def test_every_detection_belongs_to_a_track():
    table = link(detections([(0, 0), (50, 50)], [(0.2, 0), (-40, 9)]), FrameTracker(), DENSITY)
    assert table.tolist() == [[0, 1, -1], [0, -1, 1]]


def test_a_shift_of_a_frame_is_taken_out_where_most_tracks_agree():
    start = np.array([(0.0, 0.0), (20.0, 5.0), (-9.0, 30.0), (40.0, -30.0)])
    frames = [start + 0.3 * t for t in range(8)]
    frames[5] = frames[5] + np.array([3.0, -2.0])
    tracker = FrameTracker()
    assert link(detections(*frames), tracker, DENSITY, jitter=0.5).shape[1] == 4
    assert link(detections(*frames), tracker, DENSITY).shape[1] == 8


def test_a_blend_of_two_targets_is_given_to_neither():
    mean = np.zeros((1, 2, 4))
    mean[0, 1, 1] = 0.3
    states = States(mean=mean, covariance=np.tile(0.1**2 * np.eye(4), (1, 2, 1, 1)))
    alive = np.ones((1, 2), bool)
    blend, ends = detections([(0.0, 0.1)]), np.array([[True, False]])
    assert relink(states, alive, alive, blend, FrameTracker(), DENSITY).tolist() == [[-1, -1]]
    # A track beyond its end need not be there.
    assert relink(states, alive, ends, blend, FrameTracker(), DENSITY).tolist() == [[0, -1]]
