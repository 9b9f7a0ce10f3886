from dataclasses import replace

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distax import DistaxError, Sensor, render
from distax.tracking import MotionPrior, sample, simulate

PRIOR = MotionPrior()
SEQUENCES = 300


@pytest.fixture(scope="module")
def truth():
    return jax.tree.map(np.asarray, sample(jax.random.key(0), SEQUENCES))


def masked(values, mask):
    """Returns values of targets, NaN for padding."""
    return np.where(mask[..., None], values, np.nan)


def test_the_first_frame_obeys_the_placement_prior(truth):
    start = masked(truth.position[:, 0], truth.mask[:, 0])
    assert np.nanmax(np.nanmax(start, axis=1) - np.nanmin(start, axis=1)) <= 1.0
    distance = np.linalg.norm(start[:, :, None] - start[:, None], axis=-1)
    distance[:, np.arange(5), np.arange(5)] = np.nan
    assert np.nanmin(distance) >= PRIOR.placement.min_distance - 1e-6
    assert set(truth.mask[:, 0].sum(axis=1)) == {1, 2, 3, 4, 5}


def test_targets_move_at_constant_velocities_within_the_limits(truth):
    velocity = masked(np.diff(truth.position, axis=1), truth.mask[:, 1:])
    changes = np.diff(velocity, axis=1)
    assert np.nanmax(np.abs(changes)) < 5e-6
    speed = np.linalg.norm(velocity[:, 0], axis=-1)
    assert np.nanmax(speed) <= PRIOR.speed + PRIOR.drift
    assert np.nanmax(speed) > 0.95 * PRIOR.speed
    among = velocity[:, 0, :, None] - velocity[:, 0, None]
    assert PRIOR.drift < np.nanmax(np.linalg.norm(among, axis=-1)) <= 2 * PRIOR.drift + 1e-5


def test_no_target_comes_nearer_to_the_edge_than_the_margin(truth):
    position = masked(truth.position, truth.mask)
    assert np.nanmin(position) >= 0.0
    assert np.nanmax(position) <= 10.0
    assert np.nanmin(position) < 0.2  # close to the margin
    assert np.nanmax(position) > 9.8


def test_a_slot_is_the_same_target_in_every_frame(truth):
    for leaf in (truth.intensity, truth.mask):
        np.testing.assert_array_equal(leaf, np.broadcast_to(leaf[:, :1], leaf.shape))
    assert not truth.position[~truth.mask].any()


def test_every_frame_obeys_the_frame_prior(truth):
    """Some pixel's square holds all targets of a frame."""
    position = masked(truth.position, truth.mask)
    reach = PRIOR.frame_prior.cluster / 2
    lowest = np.ceil(np.nanmax(position, axis=2) - reach)
    highest = np.floor(np.nanmin(position, axis=2) + reach)
    assert np.all(np.maximum(lowest, 0) <= np.minimum(highest, 10))


def test_a_sequence_depends_on_the_key_and_its_index_alone(truth):
    again = sample(jax.random.key(0), SEQUENCES)
    jax.tree.map(np.testing.assert_array_equal, again, truth)
    first = truth.position[:, 0, 0]
    assert len(np.unique(first, axis=0)) == SEQUENCES
    other = sample(jax.random.key(1), SEQUENCES)
    assert np.all(np.abs(other.position[:, 0, 0] - first).max(axis=-1) > 0)


def test_accelerated_paths_have_the_same_second_difference():
    prior = replace(PRIOR, frames=9, speed=0.1, acceleration=0.02)
    truth = jax.tree.map(np.asarray, sample(jax.random.key(2), 50, prior))
    bent = np.diff(masked(truth.position, truth.mask), n=2, axis=1)
    size = np.linalg.norm(bent, axis=-1)
    assert 0.015 < np.nanmax(size) <= 0.02 + 1e-5
    # One acceleration for all targets and frames of a sequence.
    assert np.nanmax(np.nanmax(bent, axis=(1, 2)) - np.nanmin(bent, axis=(1, 2))) < 1e-5


@settings(max_examples=5)
@given(st.floats(0, 0.3), st.floats(0, 0.1), st.floats(0, 0.02), st.floats(0, 1))
def test_any_prior_keeps_its_targets_inside(speed, drift, acceleration, margin):
    prior = MotionPrior(
        frames=6,
        speed=speed,
        drift=drift,
        acceleration=acceleration,
        margin=margin,
    )
    truth = sample(jax.random.key(3), 20, prior, (13, 16))
    position = masked(truth.position, truth.mask)
    assert np.nanmin(position) >= margin - 0.5 - 1e-5
    assert np.all(np.nanmax(position, axis=(0, 1, 2)) <= np.array([12.5, 15.5]) - margin + 1e-5)


def test_frames_are_the_images_of_the_targets():
    sensor = Sensor(read_noise=2.0, saturation=None, bit_depth=None)
    frames, truth = simulate(jax.random.key(4), 20, sensor)
    noise = np.asarray(frames - render(truth, sensor))
    assert frames.shape == (20, 20, 11, 11)
    np.testing.assert_allclose(noise.std(), 2.0, rtol=0.02)
    assert abs(np.corrcoef(noise[:, 0].ravel(), noise[:, 1].ravel())[0, 1]) < 0.1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"frames": 0}, "frames must be greater than 0"),
        ({"speed": -0.1}, "speed must not be negative"),
        ({"drift": float("nan")}, "drift must be a finite number, got nan"),
        ({"margin": 1.5}, "nearer than 1.5 px to the image's edge"),
        ({"frames": 40}, "may move 8.58 px in 40 frames"),
        ({"acceleration": 0.1}, "more than half of the 9.00 px"),
    ],
    ids=str,
)
def test_priors_that_cannot_be_drawn_are_refused(fields, message):
    with pytest.raises(DistaxError, match=message):
        sample(jax.random.key(0), 1, replace(PRIOR, **fields))
