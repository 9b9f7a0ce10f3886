"""Shift of the camera in each frame, common to all targets of the frame."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

_SIGNIFICANT = 9.0
"""Twice the gain in log likelihood that a jitter must bring: three standard deviations."""
_STEPS = 200
"""Values of the jitter that are tried, over six powers of ten."""


@dataclass(frozen=True)
class Shifts:
    """Shift of the camera's image in each frame of a sequence.

    Attributes:
      source: "targets" or "scene" for what the shifts were measured from, "none" for a camera that
        was taken to stand still.
      shift: `[T, 2]`, rows and columns in pixels by which the frame's content is displaced. From
        the scene it is relative to the first frame. From the targets its mean and its linear trend
        over the frames are zero, because they cannot be told from a motion of all targets.
      covariance: `[T, 2, 2]` in px².
      trend_variance: variance in (pixels per frame)² of the trend that jitter of this size has by
        chance, if the shifts come from the targets. It is an error of all velocities alike.
    """

    source: Literal["targets", "scene", "none"]
    shift: Float[np.ndarray, "T 2"]
    covariance: Float[np.ndarray, "T 2 2"]
    trend_variance: float = 0.0

    @classmethod
    def at_rest(cls, frames: int) -> "Shifts":
        """Returns the shifts of a camera that stands still."""
        return cls("none", np.zeros((frames, 2)), np.zeros((frames, 2, 2)))

    @property
    def std(self) -> Float[np.ndarray, "T 2"]:
        """Standard deviations of the shifts in pixels."""
        return np.sqrt(np.diagonal(self.covariance, axis1=1, axis2=2))


def shift_of_targets(
    matrix: Float[np.ndarray, "S S"], vector: Float[np.ndarray, " S"]
) -> tuple[Float[np.ndarray, " S"], Float[np.ndarray, "S S"], float]:
    """Estimates shifts from targets alone, with the jitter that makes the detections most likely.

    The shifts have a Gaussian prior whose standard deviation, the jitter, is chosen by its marginal
    likelihood. A jitter that is not significant is zero.

    Args:
      matrix: Fisher information of all shifts, rows and columns of a frame in turn.
      vector: derivative of the log likelihood at no shift.

    Returns:
      The shifts, their covariance, and `Shifts.trend_variance`.
    """
    frames = len(vector) // 2
    trend = np.stack([np.ones(frames), np.arange(frames)], axis=1)
    free = np.linalg.qr(trend, mode="complete")[0][:, 2:]
    basis = np.kron(free, np.eye(2))
    information, axes = np.linalg.eigh(basis.T @ matrix @ basis)
    information = np.maximum(information, 0.0)
    basis = basis @ axes
    pull = basis.T @ vector
    variance = _most_likely_jitter(information, pull)
    remaining = variance / (1 + variance * information)
    leverage = np.sum((trend[:, 1] - trend[:, 1].mean()) ** 2)
    slope = variance / leverage if frames > 1 else 0.0
    return basis @ (remaining * pull), (basis * remaining) @ basis.T, slope


def _most_likely_jitter(
    information: Float[np.ndarray, " P"], pull: Float[np.ndarray, " P"]
) -> float:
    """Returns the variance of independent shifts of most marginal likelihood in px²."""
    if not np.any(information > 0):
        return 0.0
    scale = 1 / np.median(information[information > 0])
    variance = scale * np.logspace(-2, 4, _STEPS)
    inflated = 1 + variance[:, None] * information
    gain = np.sum(variance[:, None] * pull**2 / inflated - np.log(inflated), axis=1)
    best = int(np.argmax(gain))
    return float(variance[best]) if gain[best] > _SIGNIFICANT else 0.0


def shift_of_scene(
    matrix: Float[np.ndarray, "S S"], vector: Float[np.ndarray, " S"], known: Shifts
) -> tuple[Float[np.ndarray, " S"], Float[np.ndarray, "S S"]]:
    """Improves shifts that the scene shows by those of the targets.

    Args:
      matrix, vector: as for `shift_of_targets`.
      known: shifts of the scene.

    Returns:
      The shifts, and their covariance.
    """
    frames = len(known.shift)
    blocks = np.zeros((frames, 2, frames, 2))
    blocks[np.arange(frames), :, np.arange(frames)] = np.linalg.inv(known.covariance)
    prior = blocks.reshape(matrix.shape)
    spread = np.linalg.inv(prior + matrix)
    return spread @ (vector + prior @ known.shift.reshape(-1)), spread
