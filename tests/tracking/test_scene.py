"""Shifts of simulated scenes, and of frames without any."""

import jax
import numpy as np
import pytest

from distax import make_targets
from distax.frames.background import measure_background
from distax.frames.blobs import Blobs
from distax.frames.targets import FrameTargets
from distax.tracking import FrameSequence, make_scene, register_scenes, simulate_frames

CONTENT = FrameSequence(
    height=96, width=128, frames=6, targets=1, intensity=(3000.0, 3000.0), short=0.0
)


def answer(frame, position):
    """What unmixing finds in a frame: its background, and a target."""
    targets = make_targets(np.asarray(position, float), np.full(len(position), 3000.0))
    number = np.zeros(len(position))
    return FrameTargets(
        targets=targets,
        blob=number.astype(int),
        flags=number.astype(int),
        misfit=number + 1,
        count_probability=number + 1,
        blobs=Blobs(pixel=np.zeros((0, 2), int), signal_to_noise=np.zeros(0)),
        local_level=np.zeros(0),
        background=measure_background(frame, 64),
        threshold=5.0,
    )


def scenes(frames, truth):
    for frame, position in zip(frames, truth.targets.position, strict=True):
        yield make_scene(frame, answer(frame, position), 0.5)


@pytest.mark.parametrize(("texture", "bound"), [(3.0, 0.06), (12.0, 0.02)])
def test_the_scene_shows_jitter_and_drift_within_their_errors(texture, bound):
    content = FrameSequence(**vars(CONTENT) | {"texture": texture, "drift": (0.7, -1.3)})
    squares = []
    for seed in range(4):
        frames, truth = simulate_frames(jax.random.key(seed), content)
        shifts = register_scenes(scenes(frames, truth))
        error = shifts.shift - (truth.shift - truth.shift[0])
        assert np.abs(error).max() < 4 * bound
        assert np.sqrt(np.mean(error[1:] ** 2)) < bound
        squares.append(error[1:] ** 2 / shifts.std[1:] ** 2)
    assert 0.4 < np.mean(squares) < 1.8


def test_an_empty_scene_shows_no_shift_of_a_single_moving_target():
    frames, truth = simulate_frames(jax.random.key(1), CONTENT)
    assert register_scenes(scenes(frames, truth)) is None


def test_a_bright_moving_target_does_not_move_the_scene():
    content = FrameSequence(
        **vars(CONTENT) | {"texture": 6.0, "speed": 3.0, "jitter": 0.0, "intensity": (1e5, 1e5)}
    )
    frames, truth = simulate_frames(jax.random.key(2), content)
    shifts = register_scenes(scenes(frames, truth))
    assert np.abs(np.diff(truth.targets.position[:, 0], axis=0)).max() > 1
    assert np.abs(shifts.shift).max() < 0.05


def test_a_frame_that_could_not_be_used_is_interpolated():
    content = FrameSequence(**vars(CONTENT) | {"texture": 12.0, "jitter": 0.0, "drift": (0.5, 0.0)})
    frames, truth = simulate_frames(jax.random.key(3), content)
    known = list(scenes(frames, truth))
    known[2] = None
    shifts = register_scenes(known)
    np.testing.assert_allclose(shifts.shift[:, 0], 0.5 * np.arange(6), atol=0.05)
    assert np.isfinite(shifts.covariance).all()


def test_frames_without_any_scene_have_no_shifts():
    assert register_scenes([None, None]) is None
