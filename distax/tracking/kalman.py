"""Kalman filter and Rauch-Tung-Striebel smoother for positions measured with errors.

A target's state is its position in pixels and its velocity in pixels per frame. The velocity
changes from frame to frame by white noise (the discrete white noise acceleration model). Sources:
Bar-Shalom, Li & Kirubarajan, "Estimation with Applications to Tracking and Navigation" (2001),
section 6.3.2, for the model; Rauch, Tung & Striebel, AIAA J. 3 (1965), for the smoother.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from distax.runtime.pytree import pytree


@pytree
class States:
    """Gaussian estimates of positions and velocities.

    Attributes:
      mean: `[..., 4]`: row and column in pixels, row and column velocity in pixels per frame.
      covariance: `[..., 4, 4]`.
    """

    mean: Float[Array | np.ndarray, "*batch 4"]
    covariance: Float[Array | np.ndarray, "*batch 4 4"]

    @property
    def position(self) -> Float[Array | np.ndarray, "*batch 2"]:
        """Row and column in pixels, `[..., 2]`."""
        return self.mean[..., :2]

    @property
    def position_covariance(self) -> Float[Array | np.ndarray, "*batch 2 2"]:
        """Covariance of the position in px², `[..., 2, 2]`."""
        return self.covariance[..., :2, :2]


def predict(state: States, process_noise: float) -> States:
    """Predicts one target's state in the next frame.

    Args:
      state: the state in this frame, `[4]`.
      process_noise: standard deviation, along each axis, of the change of velocity from one frame
        to the next, in pixels per frame.
    """
    transition = _transition_matrix()
    noise_gain = jnp.concatenate([0.5 * jnp.eye(2), jnp.eye(2)])
    noise = process_noise**2 * noise_gain @ noise_gain.T
    return States(
        mean=transition @ state.mean,
        covariance=transition @ state.covariance @ transition.T + noise,
    )


def update(
    state: States,
    position: Float[Array, "2"],
    covariance: Float[Array, "2 2"],
    detected: Bool[Array, ""],
) -> States:
    """Updates one target's state with a measured position, in Joseph's form.

    Joseph's form keeps the covariance positive definite when measurements are far more precise
    than the prediction.

    Args:
      state: the predicted state, `[4]`.
      position: measured row and column in pixels.
      covariance: covariance of the measured position in px².
      detected: False for a missed detection, which leaves the state unchanged.
    """
    observation = jnp.eye(2, 4)
    kalman_gain = jnp.linalg.solve(
        observation @ state.covariance @ observation.T + covariance,
        observation @ state.covariance,
    ).T
    remaining = jnp.eye(4) - kalman_gain @ observation
    updated = States(
        mean=state.mean + kalman_gain @ (position - state.position),
        covariance=remaining @ state.covariance @ remaining.T
        + kalman_gain @ covariance @ kalman_gain.T,
    )
    return jax.tree.map(lambda new, old: jnp.where(detected, new, old), updated, state)


def smooth(
    prior: States,
    position: Float[Array, "T 2"],
    covariance: Float[Array, "T 2 2"],
    detected: Bool[Array, " T"],
    process_noise: float,
) -> States:
    """Smooths one target's states over all frames, from earlier and later measurements.

    Args:
      prior: the state in the first frame before any measurement, `[4]`.
      position: measured positions in pixels; any finite value in frames without a detection.
      covariance: covariances of the measured positions in px²; any finite, invertible value in
        frames without a detection.
      detected: True for frames with a measurement.
      process_noise: as for `predict`.

    Returns:
      States `[T]` given all measurements.
    """

    def forward(state: States, measured: tuple[Array, Array, Array]) -> tuple[States, tuple]:
        filtered = update(state, *measured)
        predicted = predict(filtered, process_noise)
        return predicted, (filtered, predicted)

    def backward(later: States, states: tuple[States, States]) -> tuple[States, States]:
        filtered, predicted = states
        gain = jnp.linalg.solve(predicted.covariance, transition @ filtered.covariance).T
        smoothed = States(
            mean=filtered.mean + gain @ (later.mean - predicted.mean),
            covariance=filtered.covariance
            + gain @ (later.covariance - predicted.covariance) @ gain.T,
        )
        return smoothed, smoothed

    transition = _transition_matrix()
    measured = (position, covariance, detected)
    last, states = jax.lax.scan(forward, prior, measured)
    return jax.lax.scan(backward, last, states, reverse=True)[1]


def _transition_matrix() -> Float[Array, "4 4"]:
    """Returns the matrix that moves a state by its velocity to the next frame."""
    return jnp.eye(4) + jnp.eye(4, k=2)
