from dataclasses import replace

import numpy as np
import pytest

from distax.frames import Flag, FrameTargets
from distax.frames.background import Background
from distax.frames.blobs import Blobs
from distax.frames.selection import selected, within_frame
from distax.imaging.targets import Targets

SCORE = np.array([0.5, 0.9, 0.2, 0.7, 0.8])
UNSURE = np.array([False, True, False, False, True])


@pytest.fixture(scope="module")
def found():
    number = len(SCORE)
    targets = Targets(
        position=np.arange(2.0 * number).reshape(number, 2),
        intensity=100 * SCORE,
        mask=np.ones(number, bool),
        score=SCORE,
    )
    ones = np.ones((2, 2))
    return FrameTargets(
        targets=targets,
        blob=np.array([0, 0, 1, 2, 3]),
        flags=np.where(UNSURE, int(Flag.UNSURE), 0) | int(Flag.CROWDED),
        misfit=1.0 + SCORE,
        count_probability=SCORE,
        blobs=Blobs(pixel=np.zeros((4, 2), int), signal_to_noise=np.arange(4.0)),
        local_level=np.zeros(4),
        background=Background(level=ones, noise=ones, box=(20, 20), shape=(40, 40)),
        threshold=5.0,
        point_probability=SCORE,
    )


@pytest.mark.parametrize(
    ("best", "min_score", "trusted_only", "kept"),
    [
        (None, 0.0, False, [0, 1, 2, 3, 4]),
        (None, 0.5, False, [0, 1, 3, 4]),
        (None, 0.0, True, [0, 2, 3]),
        (2, 0.0, False, [0, 3]),
        (4, 0.0, False, [0, 1, 2, 3]),
        (2, 0.0, True, [0, 3]),
        (1, 0.6, True, [3]),
        (3, 0.99, False, []),
    ],
)
def test_trusted_targets_of_high_score_are_kept_in_order(
    found, best, min_score, trusted_only, kept
):
    some = selected(found, best, min_score, trusted_only)
    assert some.targets.score.tolist() == SCORE[kept].tolist()
    assert some.targets.position.tolist() == found.targets.position[kept].tolist()
    for name in ("blob", "flags", "misfit", "count_probability", "point_probability"):
        assert getattr(some, name).tolist() == getattr(found, name)[kept].tolist()
    assert len(some.blobs.pixel) == 4


def test_answers_without_probabilities_of_points_are_selected_too(found):
    some = selected(replace(found, point_probability=None), 1, 0.0, False)
    assert some.point_probability is None
    assert some.blob.tolist() == [2]


def test_targets_beyond_the_frame_are_left_out(found):
    position = np.array([[-0.6, 3], [-0.5, 39.5], [39.4, 0], [5, 39.6], [20, 20]])
    moved = replace(found, targets=replace(found.targets, position=position))
    kept = within_frame(moved)
    np.testing.assert_array_equal(kept.targets.position, position[[1, 2, 4]])
    np.testing.assert_array_equal(kept.blob, found.blob[[1, 2, 4]])
    assert kept.blobs is moved.blobs
    assert within_frame(kept) is kept
