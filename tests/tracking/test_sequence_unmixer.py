"""Sequences unmixed by a model that answers frame f by the pixels of frame f + 1."""

import numpy as np
import pytest

from distax import DistaxError, Unmixer
from distax.imaging.scenes import ScenePrior
from distax.models import create
from distax.tracking import MotionPrior, SequenceUnmixer, Tracker, track, unmix_sequences

LENGTH = 6


@pytest.fixture(scope="module")
def unmixer(later):
    return SequenceUnmixer.load(later[1])


@pytest.fixture(scope="module")
def frames():
    """Two sequences of one bright pixel, which moves along row 4 and along column 5."""
    frames = np.zeros((2, LENGTH, 11, 11), np.float32)
    time = np.arange(LENGTH)
    frames[0, time, 4, 2 + time] = 100 + time
    frames[1, time, 3 + time, 5] = 200 + time
    return frames


def test_it_is_loaded_with_the_settings_of_its_training(unmixer, later):
    assert (type(unmixer.model).__name__, unmixer.threshold) == ("Later", 60.0)
    assert unmixer.sensor == unmixer.model.sensor
    assert unmixer.prior == MotionPrior(ScenePrior(min_targets=2, max_targets=3))
    assert SequenceUnmixer.load(str(later[1]), threshold=30.0).threshold == 30.0


def test_the_answered_frames_have_the_targets_of_their_next_frames(unmixer, frames):
    found = unmix_sequences(unmixer, frames)
    assert list(unmixer.answered(LENGTH)) == [1, 2, 3, 4]
    assert found.mask.shape[:2] == (2, 4)
    np.testing.assert_array_equal(found.mask.sum(axis=2), np.ones((2, 4)))
    after = np.arange(2, LENGTH)
    np.testing.assert_allclose(found.position[0, :, 0], np.stack([0 * after + 4, 2 + after], 1))
    np.testing.assert_allclose(found.position[1, :, 0], np.stack([3 + after, 0 * after + 5], 1))
    np.testing.assert_allclose(found.intensity[:, :, 0], [100 + after, 200 + after])


def test_a_sequence_has_the_same_answer_alone(unmixer, frames):
    together, alone = unmixer(frames), unmixer(frames[1:])
    np.testing.assert_array_equal(alone.position[0], together.position[1])
    np.testing.assert_array_equal(alone.mask[0], together.mask[1])


def test_its_targets_can_be_tracked(unmixer, frames):
    tracks = track(unmixer(frames), Tracker(velocity_std=1.0))
    assert tracks.exists.sum(axis=1).tolist() == [1, 1]
    np.testing.assert_allclose(tracks.velocity[0, :, 0], np.tile([0.0, 1.0], (4, 1)), atol=0.05)


def test_the_threshold_decides(unmixer, frames):
    dim = frames * 0.5  # 50 to 52.5 counts, and 100 to 102.5
    assert unmixer(dim).mask.any(axis=2).tolist() == [[False] * 4, [True] * 4]
    assert SequenceUnmixer(unmixer.model, 50.5)(dim).mask.any(axis=2).tolist() == [[True] * 4] * 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a[0], r"frames: an array of shape \(6, 11, 11\); sequences have four axes"),
        (lambda a: a[:0], r"frames: an array of shape \(0, 6, 11, 11\) holds no sequences"),
        (lambda a: a[:, :, :9], r"frames: 9×11 px, the sensor has 11×11"),
        (lambda a: a[:, :2], "a sequence of 2 frames is too short: .* give at least 3 frames"),
        (
            lambda a: np.where((a == 203), np.nan, a),
            r"frames: frame 3 of sequence 1, pixel \(6, 5\) is NaN or infinite; replace bad pixels",
        ),
        (lambda a: a[:1] + 200, r"frames: frame 0, pixel \(4, 2\) is 300, outside the 0\.\.255"),
    ],
    ids=["axes", "none", "size", "short", "nan", "range"],
)
def test_frames_that_cannot_be_used_are_refused(unmixer, frames, change, message):
    with pytest.raises(DistaxError, match=message):
        unmix_sequences(unmixer, change(frames))


def test_models_of_the_other_kind_are_named(unmixer):
    with pytest.raises(DistaxError, match=r"the model of cfgn takes single images: use Unmixer"):
        SequenceUnmixer.load("cfgn")
    with pytest.raises(
        DistaxError, match=r"Later takes sequences, .*`distax track` or tracking\.S"
    ):
        Unmixer(model=unmixer.model)


def test_other_types_are_refused(any_types, unmixer):
    from flax import nnx

    with pytest.raises(DistaxError, match="model must be of type SequenceModel"):
        SequenceUnmixer(create("fista", rngs=nnx.Rngs(0)))
    with pytest.raises(DistaxError, match="threshold must be greater than 0"):
        SequenceUnmixer(unmixer.model, 0.0)
