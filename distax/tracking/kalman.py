"""Smooth trajectories through uncertain positions: a Kalman filter and its smoother.

The state of a target is its position and velocity in px and px per frame; its velocity changes
from frame to frame by white noise (discrete white noise acceleration). Sources: Bar-Shalom, Li &
Kirubarajan, "Estimation with Applications to Tracking and Navigation" (2001), section 6.3.2;
Rauch, Tung & Striebel, AIAA J. 3 (1965), for the smoother.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from distax.runtime.pytree import pytree


@pytree
class States:
    """Gaussian estimates of positions and velocities.

    Attributes:
      mean: `[..., 4]`, row, column, and their changes per frame.
      covariance: `[..., 4, 4]`.
    """

    mean: Float[Array, "*batch 4"]
    covariance: Float[Array, "*batch 4 4"]

    @property
    def position(self) -> Float[Array, "*batch 2"]:
        """Row and column in pixels."""
        return self.mean[..., :2]

    @property
    def position_covariance(self) -> Float[Array, "*batch 2 2"]:
        """Their covariance in px²."""
        return self.covariance[..., :2, :2]


def predict(state: States, acceleration: float) -> States:
    """One target's state a frame later.

    Args:
      state: `[4]`.
      acceleration: standard deviation, along each axis, of the change of velocity in a frame.
    """
    step = _step()
    push = jnp.concatenate([0.5 * jnp.eye(2), jnp.eye(2)])
    noise = acceleration**2 * push @ push.T
    return States(mean=step @ state.mean, covariance=step @ state.covariance @ step.T + noise)


def update(
    state: States,
    position: Float[Array, "2"],
    covariance: Float[Array, "2 2"],
    seen: Bool[Array, ""],
) -> States:
    """One target's state after a measurement of its position, or the same where none was made.

    In Joseph's form, which stays positive definite when measurements are far more precise than
    what was known.
    """
    select = jnp.eye(2, 4)
    gain = jnp.linalg.solve(
        select @ state.covariance @ select.T + covariance, select @ state.covariance
    ).T
    kept = jnp.eye(4) - gain @ select
    after = States(
        mean=state.mean + gain @ (position - state.position),
        covariance=kept @ state.covariance @ kept.T + gain @ covariance @ gain.T,
    )
    return jax.tree.map(lambda new, old: jnp.where(seen, new, old), after, state)


def smooth(
    prior: States,
    position: Float[Array, "T 2"],
    covariance: Float[Array, "T 2 2"],
    seen: Bool[Array, " T"],
    acceleration: float,
) -> States:
    """One target's states `[T]` given all measurements of its position, past and future.

    Args:
      prior: what is known of its state in the first frame before any measurement.
      position, covariance: measured positions in px and their covariances; any finite value where
        nothing was measured.
      seen: in which frames it was measured.
      acceleration: as for `predict`.
    """

    def forward(state: States, measured: tuple[Array, Array, Array]) -> tuple[States, tuple]:
        filtered = update(state, *measured)
        ahead = predict(filtered, acceleration)
        return ahead, (filtered, ahead)

    def backward(later: States, states: tuple[States, States]) -> tuple[States, States]:
        filtered, ahead = states
        gain = jnp.linalg.solve(ahead.covariance, step @ filtered.covariance).T
        smoothed = States(
            mean=filtered.mean + gain @ (later.mean - ahead.mean),
            covariance=filtered.covariance + gain @ (later.covariance - ahead.covariance) @ gain.T,
        )
        return smoothed, smoothed

    step = _step()
    measured = (position, covariance, seen)
    last, (filtered, ahead) = jax.lax.scan(forward, prior, measured)
    return jax.lax.scan(backward, last, (filtered, ahead), reverse=True)[1]


def _step() -> Float[Array, "4 4"]:
    """From a state to the state a frame later."""
    return jnp.eye(4) + jnp.eye(4, k=2)
