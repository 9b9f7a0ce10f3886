from dataclasses import replace

import numpy as np
import pytest

from distax.frames.merging import duplicates, in_frame, near_degenerate
from distax.imaging.targets import Targets


def targets_at(position, score=None, spread=0.01):
    position = np.array(position, float)
    count = len(position)
    return Targets(
        position=position,
        intensity=np.full(count, 100.0),
        mask=np.ones(count, bool),
        score=np.ones(count) if score is None else np.array(score),
        covariance=np.broadcast_to(spread**2 * np.eye(2), (count, 2, 2)).copy(),
    )


def test_the_better_scored_of_two_duplicates_stays():
    targets = targets_at(
        [[5, 5], [5, 5.2], [5.1, 5.1], [9, 9], [9, 9.1]], [0.5, 0.9, 0.7, 0.3, 0.2]
    )
    # The last two belong to one blob; a fit has separated them, so they are not merged.
    blob = np.array([0, 1, 2, 3, 3])
    assert duplicates(targets, blob, 0.3).tolist() == [True, False, True, False, False]
    assert not duplicates(targets, blob, 0.05).any()
    nothing = replace(targets_at(np.zeros((0, 2))), covariance=None)
    assert duplicates(nothing, np.zeros(0, int), 0.3).shape == (0,)


@pytest.mark.parametrize(("distance", "expected"), [(0.40, True), (0.45, False)])
def test_targets_are_degenerate_within_three_deviations_of_their_distance(distance, expected):
    # Two errors of 0.1 px add up to √2 · 0.1: three times that is 0.424.
    angle = np.array([np.cos(0.7), np.sin(0.7)])
    targets = targets_at([[5, 5], 5 + distance * angle, [5, 5.1]], spread=0.1)
    found = near_degenerate(targets, np.array([1, 1, 0]))
    assert found.tolist() == [expected, expected, False]


def test_without_a_covariance_no_target_is_degenerate():
    targets = replace(targets_at([[5, 5], [5, 5]]), covariance=None)
    assert not near_degenerate(targets, np.array([0, 0])).any()


def test_results_of_windows_are_moved_to_the_frame_and_scaled():
    found = Targets(
        position=np.arange(12, dtype=np.float32).reshape(2, 3, 2),
        intensity=np.float32([[10, 20, 30], [40, 50, 60]]),
        mask=np.array([[True, False, True], [False, True, False]]),
        score=np.float32([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]),
        misfit=np.float32([1, 2]),
    )
    corner = np.array([[100, 200], [9000, -3]])
    targets, blob = in_frame(found, corner, np.array([2.0, 10.0]))
    assert blob.tolist() == [0, 0, 1]
    np.testing.assert_array_equal(targets.position, [[100, 201], [104, 205], [9008, 6]])
    assert targets.intensity.tolist() == [20, 60, 500]
    assert (targets.misfit, targets.intensity_std) == (None, None)
