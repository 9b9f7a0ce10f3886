import numpy as np
import pytest

from distax import DistaxError
from distax.frames.background import Background
from distax.frames.blobs import Blobs
from distax.frames.scoring import assess_frames
from distax.frames.simulation import FrameTruth
from distax.frames.targets import FrameTargets
from distax.imaging.targets import Targets

FLAT = Background(level=np.zeros((1, 1)), noise=np.ones((1, 1)), box=(64, 64), shape=(64, 64))


def targets_at(position, score=None):
    position = np.array(position, float).reshape(-1, 2)
    count = len(position)
    score = np.ones(count) if score is None else np.array(score, float)
    return Targets(
        position=position, intensity=np.full(count, 9.0), mask=np.ones(count, bool), score=score
    )


def found_at(position, blob, pixel, score=None):
    count = len(blob)
    return FrameTargets(
        targets=targets_at(position, score),
        blob=np.array(blob, int),
        flags=np.zeros(count, int),
        misfit=np.ones(count),
        count_probability=np.ones(count),
        blobs=Blobs(
            pixel=np.array(pixel, int).reshape(-1, 2), signal_to_noise=np.full(len(pixel), 9.0)
        ),
        local_level=np.zeros(len(pixel)),
        background=FLAT,
        threshold=5.0,
    )


PAIR_AND_STAR = FrameTruth(
    targets=targets_at([[10, 10], [10.5, 10], [30, 40]]), group=np.array([0, 0, 1])
)


def test_scores_of_blobs_targets_and_counts():
    # The pair is found as one target 0.12 px off, the star exactly, and a blob is false.
    found = found_at(
        [[10.12, 10], [30, 40], [50, 50]], [0, 1, 2], [[10, 10], [30, 40], [50, 50]], [3, 2, 1]
    )
    missed = FrameTruth(targets=targets_at([[20, 20]]), group=np.array([0]))
    result = assess_frames([found, found_at([], [], [])], [PAIR_AND_STAR, missed])
    assert (result.frames, result.targets) == (2, 4)
    assert result.blob_recall == pytest.approx(2 / 3)
    assert result.right_count == pytest.approx(1 / 2)
    assert result.false_blobs == pytest.approx(1 / 2)
    assert result.recall == pytest.approx(
        {"0.05": 0.25, "0.10": 0.25, "0.15": 0.5, "0.20": 0.5, "0.25": 0.5}
    )
    # At 0.05 px the first of the detections misses: precision is 1/2 up to a recall of 1/4.
    assert result.ap["0.05"] == pytest.approx(0.125)
    assert result.ap["0.15"] == pytest.approx(0.5)
    assert result.cso_map == pytest.approx(np.mean(list(result.ap.values())))
    # Within 3 px the pair's one target and the star have partners; one of three is false.
    assert result.pd == pytest.approx(2 / 4)
    assert result.fa == pytest.approx(1 / (2 * 64**2))
    assert result.rates["0.05"]["precision"] == pytest.approx(1 / 3)
    assert result.rates["0.15"]["recall"] == pytest.approx(2 / 4)
    assert result.rates["0.25"]["false_rate"] == pytest.approx(1 / 2)
    assert result.rates["0.25"]["rmse"] == pytest.approx(0.12 / np.sqrt(2), rel=1e-3)
    # Of the first frame a pair 0.12 px apart, a missed and a false target; of the other one missed.
    unpaired = 0.25**2 / 2
    distances = np.sqrt([0.12**2 + 2 * unpaired, unpaired])
    assert result.gospa == pytest.approx(distances.mean(), rel=1e-4)
    # Draws have the first frame twice, both, or the other twice.
    assert result.intervals["pd"] == pytest.approx([0.0, 2 / 3])
    assert result.intervals["false_blobs"] == [0.0, 1.0]


def test_the_truth_scores_in_full():
    position = PAIR_AND_STAR.targets.position
    result = assess_frames([found_at(position, [0, 0, 1], [[10, 10], [30, 40]])], [PAIR_AND_STAR])
    assert (result.cso_map, result.blob_recall, result.right_count) == (1.0, 1.0, 1.0)
    assert (result.false_blobs, set(result.recall.values())) == (0.0, {1.0})
    assert (result.pd, result.fa, result.gospa, result.intervals) == (1.0, 0.0, 0.0, None)


def test_missing_or_unequal_frames_raise():
    with pytest.raises(DistaxError, match="1 results cannot be scored against 0 frames"):
        assess_frames([found_at([], [], [])], [])
    empty = FrameTruth(targets=targets_at([]), group=np.zeros(0, int))
    with pytest.raises(DistaxError, match="hold no true targets"):
        assess_frames([found_at([], [], [])], [empty])
