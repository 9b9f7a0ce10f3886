"""Evaluation under SeqCSIST's protocol, compared with the metrics computed frame by frame."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from distax import DistaxError, Sensor
from distax.evaluation import (
    SequenceProtocol,
    assess,
    assess_sequences,
    evaluate,
    evaluate_sequences,
)
from distax.imaging.grid import decode, rasterize
from distax.imaging.motion import SEQCSIST, sample
from distax.imaging.targets import make_targets
from distax.metrics import RateSums, cso_map, psnr
from distax.models import SequenceModel, create

PROTOCOL = SequenceProtocol(threshold=70.0, margin=1)
LENGTH = 6


class Echo(SequenceModel):
    """Answers the brightness of the pixel that holds a node, from the frame after it."""

    reach = 1

    def __call__(self, images):
        later = self.neighbours(images, 1)
        return jnp.repeat(jnp.repeat(later, self.factor, axis=2), self.factor, axis=3)


@pytest.fixture(scope="module")
def truth():
    prior = replace(SEQCSIST, frames=LENGTH)
    return jax.tree.map(np.asarray, sample(jax.random.key(2), 5, prior))


@pytest.fixture(scope="module")
def found(truth):
    """The truth displaced by up to 0.2 px, some of it faint."""
    rng = np.random.default_rng(0)
    position = truth.position + rng.uniform(-0.14, 0.14, truth.position.shape).astype(np.float32)
    intensity = rng.uniform(50, 200, truth.intensity.shape).astype(np.float32)
    return make_targets(position, intensity, truth.mask, rng.random(intensity.shape, np.float32))


@pytest.fixture(scope="module")
def result(found, truth):
    return assess_sequences(found, truth, protocol=PROTOCOL)


def scored(targets, first=1):
    return jax.tree.map(lambda leaf: leaf[:, first : first + LENGTH - 2], targets)


def bright(targets):
    return replace(targets, mask=targets.mask & (targets.intensity >= 70))


def flat(targets):
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), targets)


def test_the_frames_inside_are_scored_above_the_threshold(result, found, truth):
    expected = assess(flat(scored(bright(found))), flat(scored(truth)))
    # Intervals are those over sequences.
    assert replace(result.frames, intervals=None) == replace(expected, intervals=None)
    assert (result.sequences, result.frames.images) == (5, 20)
    assert 0 < expected.cso_map < 1


def test_rates_are_those_of_the_metric(result, found, truth):
    sums = RateSums.of(scored(bright(found)), scored(truth))
    np.testing.assert_allclose(list(result.detection_rate.values()), sums.detection_rate)
    np.testing.assert_allclose(list(result.false_rate.values()), sums.false_rate)
    assert list(result.false_rate) == ["0.05", "0.10", "0.15", "0.20", "0.25"]


def test_every_frame_has_its_own_score(result, found, truth):
    assert list(result.by_frame) == ["2", "3", "4", "5"]
    for frame, score in result.by_frame.items():
        one = jax.tree.map(lambda leaf, at=int(frame) - 1: leaf[:, at], (bright(found), truth))
        assert score == pytest.approx(float(cso_map(*one).mean), abs=1e-6)


def test_published_rates_are_those_of_earlier_frames(found, truth):
    protocol = replace(PROTOCOL, shifted_rates=True)
    shifted = assess_sequences(found, truth, protocol=protocol)
    sums = RateSums.of(scored(bright(found)), scored(truth, first=0))
    np.testing.assert_allclose(list(shifted.detection_rate.values()), sums.detection_rate)
    assert shifted.frames == assess_sequences(found, truth, protocol=PROTOCOL).frames


def test_intervals_are_those_over_sequences(found, truth):
    """Twenty equal sequences, in each of which a frame differs from the next, have no spread."""
    first = jax.tree.map(lambda leaf: np.repeat(np.asarray(leaf)[:1], 20, axis=0), (found, truth))
    interval = assess_sequences(*first, protocol=PROTOCOL).frames.intervals["cso_map"]
    assert interval[1] - interval[0] == pytest.approx(0, abs=1e-6)
    several = assess_sequences(found, truth, protocol=PROTOCOL).frames.intervals["cso_map"]
    assert several[1] - several[0] > 0.01


def test_a_single_sequence_has_no_intervals(found, truth):
    one = jax.tree.map(lambda leaf: np.asarray(leaf)[:1], (found, truth))
    assert assess_sequences(*one, protocol=PROTOCOL).frames.intervals is None


def test_a_model_is_scored_by_what_it_detects(truth):
    model, rng = Echo(3, Sensor()), np.random.default_rng(1)
    frames = rng.uniform(0, 76, (5, LENGTH, 11, 11)).astype(np.float32)
    result = evaluate_sequences(model, frames, truth, protocol=PROTOCOL)
    expected = assess_sequences(
        jax.tree.map(
            # Frames without an answer, which are not scored.
            lambda leaf: np.pad(leaf, ((0, 0), (1, 1), *[(0, 0)] * (leaf.ndim - 2))),
            decode(model(jnp.asarray(frames)), 70.0),
        ),
        truth,
        protocol=PROTOCOL,
    )
    grids = rasterize(jax.tree.map(jnp.asarray, scored(truth)), Sensor(), 3)
    without = replace(result.frames, psnr=None, ssim=None, intervals=None)
    assert without == replace(expected.frames, intervals=None)
    assert result.detection_rate == expected.detection_rate
    assert result.by_frame == expected.by_frame
    ratio = psnr(model(jnp.asarray(frames)).reshape(-1, 33, 33), grids.reshape(-1, 33, 33))
    assert result.frames.psnr == pytest.approx(float(jnp.mean(ratio)), rel=1e-5)


def test_frames_that_a_model_does_not_answer_cannot_be_scored(truth):
    frames = np.zeros((5, LENGTH, 11, 11), np.float32)
    with pytest.raises(DistaxError, match=r"frames 1 to 6 are scored, Echo answers frames 2 to 5"):
        evaluate_sequences(Echo(3, Sensor()), frames, truth, protocol=SequenceProtocol(margin=0))


def test_what_does_not_fit_is_refused(found, truth):
    with pytest.raises(
        DistaxError, match="answers of 4 sequences of 6 frames cannot be compared with"
    ):
        assess_sequences(jax.tree.map(lambda leaf: leaf[:4], found), truth)
    short = jax.tree.map(lambda leaf: leaf[:, :4], (found, truth))
    with pytest.raises(
        DistaxError, match="a sequence of 4 frames is too short: the first and the last 2"
    ):
        assess_sequences(*short)
    none = jax.tree.map(lambda leaf: leaf[:0], (found, truth))
    with pytest.raises(DistaxError, match="there are no sequences to evaluate on"):
        assess_sequences(*none)
    with pytest.raises(DistaxError, match="threshold"):
        SequenceProtocol(threshold=0.0)


def test_models_are_refused_on_what_they_do_not_take(truth, any_types):
    frames = np.zeros((5, LENGTH, 11, 11), np.float32)
    first = jax.tree.map(lambda leaf: leaf[:, 0], truth)
    with pytest.raises(DistaxError, match=r"Echo takes sequences of frames; use evaluate_seq"):
        evaluate(Echo(3, Sensor()), frames[:, 0], first)
    with pytest.raises(DistaxError, match=r"Nnls takes single images; .*unmix_sequences"):
        evaluate_sequences(create("nnls", rngs=nnx.Rngs(0)), frames, truth, protocol=PROTOCOL)


@pytest.mark.parametrize("part", [np.s_[:4], np.s_[:, :5], np.s_[0]])
def test_frames_of_other_sequences_are_refused(truth, part, any_types):
    frames = np.zeros((5, LENGTH, 11, 11), np.float32)[part]
    with pytest.raises(DistaxError, match=r"cannot be compared with the truth of shape \(5, 6, "):
        evaluate_sequences(Echo(3, Sensor()), frames, truth, protocol=PROTOCOL)
