import numpy as np
import pytest

from distax.tracking import FrameTracker, Shifts
from distax.tracking.fragments import extend, join
from distax.tracking.kalman import States
from distax.tracking.paths import Path

FRAMES, TRACKER = 12, FrameTracker()
STATE = np.diag([0.1, 0.1, 0.02, 0.02]) ** 2


def path(first, last, offset=0.0, speed=0.5):
    """A path along the first axis at a constant speed, as if it had started in frame 0."""
    frame = np.arange(first, last + 1)
    mean = np.stack([offset + speed * frame, 0 * frame, speed + 0 * frame, 0 * frame], axis=1)
    states = States(mean=mean.astype(float), covariance=np.tile(STATE, (len(frame), 1, 1)))
    return Path(frame=frame, states=states, squares=1.0, freedom=1.0)


def joined(*paths, shifts=None):
    slot = np.full((FRAMES, len(paths)), -1)
    for number, one in enumerate(paths):
        slot[one.frame, number] = number
    return join(slot, paths, shifts or Shifts.at_rest(FRAMES), TRACKER)


def test_a_path_goes_on_with_the_camera_and_a_growing_error():
    shift = np.zeros((FRAMES, 2))
    shift[3], shift[8] = (0.4, 0.0), (0.0, -0.2)
    spread = np.tile(0.01 * np.eye(2), (FRAMES, 1, 1))
    frame, states = extend(path(5, 6), Shifts("targets", shift, spread), TRACKER, 2)
    assert frame.tolist() == [3, 4, 5, 6, 7, 8]
    np.testing.assert_allclose(states.mean[:, 0], [1.9, 2.0, 2.5, 3.0, 3.5, 4.0])
    np.testing.assert_allclose(states.mean[:, 1], [0, 0, 0, 0, 0, -0.2])
    expected = 0.01 + np.array([4, 1, 0, 0, 1, 4]) * 0.0004 + np.array([1, 1, 0, 0, 1, 1]) * 0.01
    np.testing.assert_allclose(states.covariance[:, 0, 0], expected, rtol=1e-4)


def test_a_path_ends_with_the_sequence():
    frame, _ = extend(path(1, FRAMES - 1), Shifts.at_rest(FRAMES), TRACKER, 3)
    assert frame.tolist() == list(range(FRAMES))


def test_fragments_of_one_path_are_joined_in_their_order():
    left = joined(path(8, 11), path(0, 3), path(5, 7))
    assert left.tolist() == [[1], [1], [1], [1], [-1], [2], [2], [2], [0], [0], [0], [0]]


@pytest.mark.parametrize(
    "other",
    [path(6, 11, offset=1.0), path(6, 11, offset=1.2, speed=0.3), path(9, 11), path(0, 11)],
    ids=["place", "speed", "too late", "same time"],
)
def test_other_tracks_are_not_joined(other):
    assert joined(path(0, 4), other).shape[1] == 2


def test_a_shift_of_the_camera_does_not_part_fragments():
    shift = np.zeros((FRAMES, 2))
    shift[6:] = 2.0, 0.0
    moved = path(6, 11, offset=2.0)
    still = np.zeros((FRAMES, 2, 2))
    assert joined(path(0, 4), moved, shifts=Shifts("scene", shift, still)).shape[1] == 1
    assert joined(path(0, 4), moved).shape[1] == 2
