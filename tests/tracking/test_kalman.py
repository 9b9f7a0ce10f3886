import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax.tracking.kalman import States, smooth

FRAMES = 8
PRIOR_STD = np.array([4.0, 4.0, 0.1, 0.1])
run = jax.jit(smooth, static_argnames="process_noise")


def measurements(seed):
    """Positions near a straight path, their covariances, and the frames with a detection."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(FRAMES, 2, 2)) * 0.1
    covariance = root @ np.swapaxes(root, 1, 2) + 1e-4 * np.eye(2)
    position = np.array([5.0, 4.0]) + np.arange(FRAMES)[:, None] * np.array([0.1, -0.05])
    detected = np.array([False, True, True, False, True, True, True, False])
    return position + rng.normal(size=(FRAMES, 2)) * 0.1, covariance, detected


def dense_least_squares(mean, position, covariance, detected, process_noise):
    """Solves for all states at once, linear in the first state and each frame's noise."""
    unknowns = 4 + 2 * (FRAMES - 1)
    step, push = np.eye(4) + np.eye(4, k=2), np.concatenate([0.5 * np.eye(2), np.eye(2)])
    states = [np.eye(4, unknowns)]
    for frame in range(FRAMES - 1):
        pushed = push @ np.eye(unknowns)[4 + 2 * frame : 6 + 2 * frame]
        states.append(step @ states[-1] + pushed)
    deviation = np.concatenate([PRIOR_STD, np.full(unknowns - 4, process_noise)])
    information = np.diag(deviation**-2.0)
    vector = information[:, :4] @ mean
    for frame in np.flatnonzero(detected):
        weighted = states[frame][:2].T @ np.linalg.inv(covariance[frame])
        information += weighted @ states[frame][:2]
        vector += weighted @ position[frame]
    spread = np.linalg.inv(information)
    maps = np.stack(states)
    return maps @ spread @ vector, maps @ spread @ np.swapaxes(maps, 1, 2)


@pytest.mark.parametrize("process_noise", [1e-4, 0.02])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_smoother_is_the_least_squares_solution(seed, process_noise):
    position, covariance, detected = measurements(seed)
    mean = np.array([5.0, 4.0, 0.0, 0.0])
    expected, spread = dense_least_squares(mean, position, covariance, detected, process_noise)
    deviation = np.sqrt(np.diagonal(spread, axis1=1, axis2=2))
    for double in (True, False):
        kind = jnp.float64 if double else jnp.float32
        with jax.enable_x64(double):
            known = [jnp.asarray(a, kind) for a in (mean, np.diag(PRIOR_STD**2))]
            measured = [jnp.asarray(a, kind) for a in (position, covariance)]
            prior = States(mean=known[0], covariance=known[1])
            states = run(prior, *measured, detected, process_noise=process_noise)
            found = np.sqrt(np.diagonal(np.asarray(states.covariance), axis1=1, axis2=2))
        tolerance = 1e-6 if double else 0.03
        assert np.max(np.abs(np.asarray(states.mean) - expected) / deviation) < tolerance
        np.testing.assert_allclose(found, deviation, rtol=tolerance)


def test_states_without_detections_are_the_prior():
    prior = States(mean=jnp.array([5.0, 4.0, 0.1, 0.0]), covariance=jnp.diag(PRIOR_STD**2))
    position, covariance, _ = measurements(0)
    arrays = [jnp.asarray(array, jnp.float32) for array in (position, covariance)]
    states = run(prior, *arrays, np.zeros(FRAMES, bool), process_noise=1e-4)
    np.testing.assert_allclose(states.position[:, 0], 5.0 + 0.1 * np.arange(FRAMES), rtol=1e-5)
    np.testing.assert_allclose(states.covariance[0, 0, 0], 16.0, rtol=1e-3)


def test_stated_errors_are_true():
    """Squared errors in units of the stated covariance average to 2 over many paths."""
    rng = np.random.default_rng(5)
    paths = 400
    start = rng.normal(size=(paths, 4)) * PRIOR_STD
    truth = start[:, None, :2] + np.arange(FRAMES)[:, None] * start[:, None, 2:]
    deviation = rng.uniform(0.05, 0.3, (paths, FRAMES))
    position = truth + rng.normal(size=truth.shape) * deviation[..., None]
    covariance = deviation[..., None, None] ** 2 * np.eye(2)
    detected = rng.uniform(size=(paths, FRAMES)) < 0.7
    prior = States(mean=jnp.zeros(4), covariance=jnp.diag(PRIOR_STD**2))
    whole = jax.vmap(lambda *measured: smooth(prior, *measured, 1e-4))
    states = whole(*(jnp.asarray(a, jnp.float32) for a in (position, covariance)), detected)
    error = np.asarray(states.position) - truth
    inverse = np.linalg.inv(np.asarray(states.position_covariance, np.float64))
    squares = np.einsum("nti,ntij,ntj->nt", error, inverse, error)
    assert np.abs(squares.mean(axis=0) - 2).max() < 0.5  # 2 ± 0.1, correlated over frames
