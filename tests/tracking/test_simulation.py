import jax
import numpy as np
import pytest

from distax import DistaxError, Sensor, render
from distax.tracking import FrameSequence, simulate_frames

CONTENT = FrameSequence(height=64, width=80, frames=12, targets=6, short=0.5, missing=0.2)
SENSOR = Sensor(saturation=None, bit_depth=None, read_noise=2.0, background=100.0)


@pytest.fixture(scope="module")
def simulated():
    return simulate_frames(jax.random.key(4), CONTENT, SENSOR)


def test_frames_are_targets_background_and_noise(simulated):
    frames, truth = simulated
    ideal = np.asarray(render(truth.targets, Sensor(height=64, width=80)))
    left = frames - ideal
    assert frames.shape == (12, 64, 80)
    assert np.mean(left) == pytest.approx(100.0, abs=0.1)
    assert np.std(left) == pytest.approx(2.0, rel=0.03)


def test_targets_move_straight_under_a_shaking_camera(simulated):
    _, truth = simulated
    mask = truth.targets.mask
    time = np.arange(12)[:, None, None]
    still = truth.targets.position - truth.shift[:, None] - time * truth.velocity
    for slot in range(6):
        np.testing.assert_allclose(np.ptp(still[mask[:, slot], slot], axis=0), 0.0, atol=1e-4)
    assert 0.3 < np.std(truth.shift) < 0.7
    assert np.linalg.norm(truth.velocity, axis=1).max() <= CONTENT.speed
    inside = truth.targets.position[mask]
    assert (inside > 4).all()
    assert (inside < np.array([60, 76])).all()


def test_some_targets_are_born_die_or_are_dark():
    content = FrameSequence(height=96, width=96, frames=20, targets=60, short=0.5, missing=0.2)
    mask = simulate_frames(jax.random.key(0), content, SENSOR)[1].targets.mask
    first, last = mask.argmax(axis=0), 19 - mask[::-1].argmax(axis=0)
    assert 0.3 < np.mean((first > 0) | (last < 19)) < 0.7
    assert (first > 0).any()
    assert (last < 19).any()
    time = np.arange(20)[:, None]
    within = (time > first) & (time < last)
    assert np.mean(~mask[within]) == pytest.approx(0.2, abs=0.03)


def test_the_scene_moves_with_the_camera():
    content = FrameSequence(
        height=64, width=64, frames=4, targets=1, intensity=(1e-3, 1e-3), jitter=0.0,
        drift=(2.0, -1.0), texture=10.0,
    )  # fmt: skip
    frames, _ = simulate_frames(jax.random.key(0), content, SENSOR)
    assert np.std(frames[0]) == pytest.approx(np.hypot(10, 2), rel=0.1)
    moved = np.roll(frames[0], (6, -3), axis=(0, 1)) - frames[3]
    assert np.std(moved) == pytest.approx(2 * np.sqrt(2), rel=0.05)


def test_the_key_determines_the_frames(simulated):
    same, other = (simulate_frames(jax.random.key(k), CONTENT, SENSOR)[0] for k in (4, 5))
    np.testing.assert_array_equal(same, simulated[0])
    assert not np.array_equal(other, same)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"speed": 20.0}, "lower speed, drift, jitter or frames"),
        ({"intensity": (5.0, 1.0)}, "the lower first"),
        ({"missing": 1.5}, "missing must lie between 0 and 1"),
        ({"targets": 0}, "targets must be greater than 0"),
    ],
    ids=str,
)
def test_sequences_that_make_no_sense_are_refused(options, message):
    with pytest.raises(DistaxError, match=message):
        FrameSequence(**options)
