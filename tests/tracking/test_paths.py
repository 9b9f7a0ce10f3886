"""Paths and camera shifts compared with one dense least-squares solution of all unknowns."""

import numpy as np
import pytest

from distax.tracking import Shifts
from distax.tracking.paths import Sightings, estimate_paths

FRAMES, SPEED, NOISE = 12, 1.0, 1e-4


def world(seed, tracks=4, jitter=0.5, std=0.05, frames=FRAMES):
    """Straight paths under a shaking camera: sightings, true places in the frames, true shifts."""
    rng = np.random.default_rng(seed)
    shift = jitter * rng.normal(size=(frames, 2))
    sightings, truth = [], []
    for _ in range(tracks):
        first, last = rng.integers(0, 3), frames - rng.integers(0, 3)
        frame = np.arange(first, last)
        start, velocity = rng.uniform(-20, 20, 2), rng.uniform(-0.8, 0.8, 2)
        place = start + frame[:, None] * velocity + shift[frame]
        seen = rng.uniform(size=len(frame)) < 0.8
        seen[[0, -1]] = True
        deviation = std * rng.uniform(0.5, 2.0, len(frame))
        noisy = place + deviation[:, None] * rng.normal(size=place.shape)
        covariance = deviation[:, None, None] ** 2 * np.eye(2)
        sightings.append(Sightings(frame[seen], noisy[seen], covariance[seen]))
        truth.append(place)
    return sightings, truth, shift


def without_trend(shift):
    time = np.stack([np.ones(len(shift)), np.arange(len(shift))], axis=1)
    return shift - time @ np.linalg.lstsq(time, shift, rcond=None)[0]


def targets(frames=FRAMES):
    return Shifts("targets", np.zeros((frames, 2)), np.zeros((frames, 2, 2)))


def dense_solution(sightings, jitter):
    """Solves for all starts, velocities and shifts at once, one axis after the other.

    Shifts without a mean and a trend are the last FRAMES − 2 unknowns.
    """
    number = len(sightings)
    trend = np.stack([np.ones(FRAMES), np.arange(FRAMES)], axis=1)
    free = np.linalg.qr(trend, mode="complete")[0][:, 2:]
    unknowns = 2 * number + FRAMES - 2
    answers = []
    for axis in (0, 1):
        information = np.zeros((unknowns, unknowns))
        information[2 * number :, 2 * number :] += np.eye(FRAMES - 2) / jitter**2
        vector = np.zeros(unknowns)
        for k, seen in enumerate(sightings):
            information[2 * k + 1, 2 * k + 1] += 1 / SPEED**2
            for frame, position, covariance in zip(
                seen.frame, seen.position, seen.covariance, strict=True
            ):
                row = np.zeros(unknowns)
                row[2 * k], row[2 * k + 1] = 1.0, frame - seen.frame[0]
                row[2 * number :] = free[frame]
                information += np.outer(row, row) / covariance[axis, axis]
                vector += row * position[axis] / covariance[axis, axis]
        spread = np.linalg.inv(information)
        answers.append((spread @ vector, spread, free))
    return answers


def test_paths_and_shifts_are_the_least_squares_solution():
    sightings, _, _ = world(0)
    paths, shifts = estimate_paths(sightings, targets(), SPEED, NOISE)
    # The sum of squared times from the middle is 143: the variance of a trend times that.
    jitter = np.sqrt(143 * shifts.trend_variance)
    assert 0.3 < jitter < 0.7
    for axis, (solution, spread, free) in enumerate(dense_solution(sightings, jitter)):
        number = len(sightings)
        basis = np.zeros((FRAMES, len(solution)))
        basis[:, 2 * number :] = free
        np.testing.assert_allclose(shifts.shift[:, axis], basis @ solution, atol=3e-3)
        expected = np.sqrt(np.diag(basis @ spread @ basis.T))
        np.testing.assert_allclose(shifts.std[:, axis], expected, rtol=0.03)
        for k, path in enumerate(paths):
            rows = basis[path.frame].copy()
            rows[:, 2 * k], rows[:, 2 * k + 1] = 1.0, path.frame - path.frame[0]
            np.testing.assert_allclose(path.states.mean[:, axis], rows @ solution, atol=3e-3)
            expected = np.sqrt(np.diag(rows @ spread @ rows.T))
            np.testing.assert_allclose(
                np.sqrt(path.states.covariance[:, axis, axis]), expected, rtol=0.03
            )
            deviation = np.sqrt(spread[2 * k + 1, 2 * k + 1])
            np.testing.assert_allclose(
                np.sqrt(path.states.covariance[:, 2 + axis, 2 + axis]), deviation, rtol=0.05
            )


@pytest.mark.parametrize("jitter", [0.0, 0.5])
def test_stated_errors_are_true(jitter):
    """Squared errors in units of the stated covariance average to 2 over many sequences."""
    squares, off, freedom, strange = [], [], [], []
    for seed in range(40):
        sightings, truth, shift = world(seed, jitter=jitter)
        paths, shifts = estimate_paths(sightings, targets(), SPEED, NOISE)
        for path, place in zip(paths, truth, strict=True):
            error = path.states.mean[:, :2] - place
            inverse = np.linalg.inv(path.states.covariance[:, :2, :2])
            squares.append(np.einsum("ni,nij,nj->n", error, inverse, error))
            off.append(path.squares)
            freedom.append(path.freedom)
        if jitter == 0:
            assert np.abs(shifts.shift).max() < 0.1
        else:
            strange.append(((shifts.shift - without_trend(shift)) / shifts.std) ** 2)
    assert 1.6 < np.concatenate(squares).mean() < 2.4  # 2 ± 0.1, correlated over frames
    assert 0.9 < np.sum(off) / np.sum(freedom) < 1.1
    if jitter:
        assert 0.8 < np.mean(strange) < 1.25


def test_a_camera_at_rest_has_no_shift():
    sightings, truth, _ = world(1, jitter=0.0)
    paths, shifts = estimate_paths(sightings, Shifts.at_rest(FRAMES), SPEED, NOISE)
    assert not shifts.shift.any()
    assert not shifts.covariance.any()
    assert np.abs(paths[0].states.mean[:, :2] - truth[0]).max() < 0.2


def test_shifts_of_the_scene_are_kept_with_their_drift_and_improved():
    sightings, _, shift = world(2, std=0.02)
    drift = np.arange(FRAMES)[:, None] * np.array([0.3, -0.1])
    moved = [
        Sightings(seen.frame, seen.position + drift[seen.frame], seen.covariance)
        for seen in sightings
    ]
    truth = shift + drift
    rng = np.random.default_rng(0)
    measured = truth + 0.1 * rng.normal(size=truth.shape)
    known = Shifts("scene", measured, np.tile(0.01 * np.eye(2), (FRAMES, 1, 1)))
    shifts = estimate_paths(moved, known, SPEED, NOISE)[1]
    assert np.std(shifts.shift - truth) < 0.7 * np.std(measured - truth)
    trend = np.polyfit(np.arange(FRAMES), shifts.shift - truth, 1)[0]
    assert np.abs(trend).max() < 0.03
