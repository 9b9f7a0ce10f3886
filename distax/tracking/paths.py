"""Paths of targets through whole frames, smoothed together with the camera's shifts.

A detection at time t of target k is z = x_k(t) + s(t) + noise: the target's smooth path, the
camera's shift in that frame, and the error of the detection. The smoother is linear: it answers a
path of x̂ = G z to detections z. So after smoothing without a shift, the detections of a track with
the covariance R have the likelihood ½ (z − s)ᵀ A (z − s) with A = R⁻¹ (1 − G), from which the paths
are already eliminated. These matrices add up over the tracks. The shifts follow by linear algebra,
and so does the exact covariance of all paths together with the shifts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from distax.runtime.numerics import exact_products
from distax.tracking.camera import Shifts, shift_of_scene, shift_of_targets
from distax.tracking.kalman import States, smooth

_START_STD = 30.0
"""Standard deviation of a track's initial position, relative to that of its first detection. A
smaller one counts that detection twice, a larger one loses digits in float32."""


@dataclass(frozen=True)
class Sightings:
    """Detections of one track, from its first frame on.

    Attributes:
      frame: `[n]`, frames with a detection, in order.
      position: `[n, 2]` in pixels.
      covariance: `[n, 2, 2]` in px².
    """

    frame: Int[np.ndarray, " n"]
    position: Float[np.ndarray, "n 2"]
    covariance: Float[np.ndarray, "n 2 2"]


@dataclass(frozen=True)
class Path:
    """Smoothed track in the frames from its first detection to its last.

    Attributes:
      frame: `[L]`.
      states: `[L]`. Positions are those in the frame, the camera's shift included; velocities are
        without it.
      squares: sum of the squared residuals of the detections in units of their covariances.
      freedom: degrees of freedom of that sum, at least 1.
    """

    frame: Int[np.ndarray, " L"]
    states: States
    squares: float
    freedom: float


@dataclass(frozen=True)
class _Smoothed:
    """Track that was smoothed as if the camera stood still.

    Attributes:
      seen: its detections.
      at: `[n]`, indices of the frames with a detection, counted from the first.
      mean: `[L, 4]`.
      covariance: `[L, 4, 4]`.
      gain: `[L, 4, n, 2]`, derivative of `mean` with respect to the detections.
    """

    seen: Sightings
    at: Int[np.ndarray, " n"]
    mean: Float[np.ndarray, "L 4"]
    covariance: Float[np.ndarray, "L 4 4"]
    gain: Float[np.ndarray, "L 4 n 2"]

    @property
    def left(self) -> Float[np.ndarray, "m m"]:
        """1 − G: share of a shift of the detections that stays in their residuals."""
        size = 2 * len(self.at)
        return np.eye(size) - self.gain[self.at, :2].reshape(size, size)

    @property
    def residual(self) -> Float[np.ndarray, "n 2"]:
        """Detections minus the path in pixels."""
        return self.seen.position - self.mean[self.at, :2]

    @property
    def entries(self) -> Int[np.ndarray, " m"]:
        """Entries of the detections' frames in a vector of all shifts, row and column in turn."""
        return (2 * self.seen.frame[:, None] + np.arange(2)).reshape(-1)


def estimate_paths(
    sightings: Sequence[Sightings],
    known: Shifts,
    velocity_std: float,
    process_noise: float,
) -> tuple[list[Path], Shifts]:
    """Smooths tracks and estimates the camera's shifts with them.

    Args:
      sightings: detections of each track.
      known: shifts that are known beforehand. From the scene they are improved by the targets.
        From the targets they are estimated here, and only the source matters. Of none they are
        zero, and stay so.
      velocity_std: standard deviation of a velocity along each axis, in pixels per frame.
      process_noise: as for `kalman.predict`.
    """
    frames = len(known.shift)
    smoothed = [_smooth(seen, frames, velocity_std, process_noise) for seen in sightings]
    matrix, vector = np.zeros((2 * frames, 2 * frames)), np.zeros(2 * frames)
    if known.source != "none":
        for track in smoothed:
            inverse = np.linalg.inv(track.seen.covariance)
            weighted = np.einsum("nij,njk->nik", inverse, track.left.reshape(len(inverse), 2, -1))
            block = weighted.reshape(len(track.entries), -1)
            matrix[np.ix_(track.entries, track.entries)] += (block + block.T) / 2
            vector[track.entries] += np.einsum("nij,nj->ni", inverse, track.residual).reshape(-1)
    trend = 0.0
    if known.source == "targets":
        shift, spread, trend = shift_of_targets(matrix, vector)
    elif known.source == "scene":
        shift, spread = shift_of_scene(matrix, vector, known)
    else:
        shift, spread = np.zeros(2 * frames), np.zeros_like(matrix)
    blocks = spread.reshape(frames, 2, frames, 2)
    covariance = blocks[np.arange(frames), :, np.arange(frames)]
    paths = [_path(track, shift, spread) for track in smoothed]
    return paths, Shifts(known.source, shift.reshape(frames, 2), covariance, trend)


def _path(
    track: _Smoothed, shift: Float[np.ndarray, " S"], spread: Float[np.ndarray, "S S"]
) -> Path:
    """Adds the camera's shifts and their errors to a track smoothed without them."""
    length, number = len(track.mean), len(track.at)
    frame = track.seen.frame[0] + np.arange(length)
    own = (2 * frame[:, None] + np.arange(2)).reshape(-1)
    # Derivatives of the position and of the velocity with respect to all shifts.
    change = np.zeros((length, 4, len(shift)))
    change[:, :, track.entries] = -track.gain.reshape(length, 4, 2 * number)
    change[:, :2][np.arange(length)[:, None], np.arange(2), own.reshape(length, 2)] += 1
    mean = track.mean + change @ shift
    moved = change @ spread @ np.swapaxes(change, 1, 2)
    seen = track.seen
    residual = seen.position - mean[track.at, :2]
    inverse = np.linalg.inv(seen.covariance)
    used = np.einsum("nij,nji->", inverse, moved[track.at, :2, :2])
    return Path(
        frame=frame,
        states=States(mean=mean, covariance=track.covariance + moved),
        squares=float(np.einsum("ni,nij,nj->", residual, inverse, residual)),
        freedom=max(float(np.trace(track.left) - used), 1.0),
    )


def _smooth(seen: Sightings, frames: int, velocity_std: float, process_noise: float) -> _Smoothed:
    """Smooths a track as if the camera stood still, relative to its first detection."""
    at = seen.frame - seen.frame[0]
    # As many frames as the sequence has, so that one program serves all tracks.
    position, covariance = np.zeros((frames, 2)), np.tile(np.eye(2), (frames, 1, 1))
    detected = np.zeros(frames, bool)
    position[at] = seen.position - seen.position[0]
    covariance[at], detected[at] = seen.covariance, True
    states, gain = _smooth_and_differentiate(
        position, covariance, detected, velocity_std=velocity_std, process_noise=process_noise
    )
    length = at[-1] + 1
    mean = np.asarray(states.mean, float)[:length]
    mean[:, :2] += seen.position[0]
    return _Smoothed(
        seen=seen,
        at=at,
        mean=mean,
        covariance=np.asarray(states.covariance, float)[:length],
        gain=np.asarray(gain, float)[:length, :, at],
    )


@partial(jax.jit, static_argnames=("velocity_std", "process_noise"))
@exact_products
def _smooth_and_differentiate(
    position: Float[Array, "T 2"],
    covariance: Float[Array, "T 2 2"],
    detected: Bool[Array, " T"],
    velocity_std: float,
    process_noise: float,
) -> tuple[States, Float[Array, "T 4 T 2"]]:
    """Smooths a track that is detected in the first frame; differentiates by the detections."""

    def states(position: Float[Array, "T 2"]) -> States:
        spread = jnp.zeros((4, 4)).at[:2, :2].set(_START_STD**2 * covariance[0])
        prior = States(
            mean=jnp.concatenate([position[0], jnp.zeros(2)]),
            covariance=spread.at[2:, 2:].set(velocity_std**2 * jnp.eye(2)),
        )
        return smooth(prior, position, covariance, detected, process_noise)

    return states(position), jax.jacfwd(lambda position: states(position).mean)(position)
