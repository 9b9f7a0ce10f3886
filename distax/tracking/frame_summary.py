"""Detections of whole frames as arrays, and tracks from their smoothed paths."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from distax.fitting.misfit import TRUSTED_MISFIT
from distax.frames import FrameTargets
from distax.imaging.gaussian import disc_probability
from distax.imaging.targets import Targets
from distax.metrics import RADII
from distax.tracking.gating import Detections
from distax.tracking.paths import Path
from distax.tracking.tracks import MIN_POSITION_STD, Tracks

_UNKNOWN_STD = 0.1
"""Error in pixels of a position that the method states no covariance for."""


def stack(
    found: Sequence[FrameTargets | None],
) -> tuple[Detections, Float[np.ndarray, "T K"]]:
    """Stacks the targets of frames, padded to one number; returns their weights as well.

    A detection that the imaging model does not explain weighs half, and padding nothing.
    """
    slots = max(1, *(len(frame.blob) for frame in found if frame is not None))
    position, weight = np.zeros((len(found), slots, 2)), np.zeros((len(found), slots))
    covariance = np.tile(np.eye(2), (len(found), slots, 1, 1))
    for time, frame in enumerate(found):
        if frame is None:
            continue
        number, targets = len(frame.blob), frame.targets
        position[time, :number] = targets.position
        spread = _UNKNOWN_STD**2 * np.eye(2) if targets.covariance is None else targets.covariance
        covariance[time, :number] = np.asarray(spread) + MIN_POSITION_STD**2 * np.eye(2)
        weight[time, :number] = np.where(frame.misfit > TRUSTED_MISFIT, 0.5, 1.0)
    return Detections(position=position, covariance=covariance, mask=weight > 0), weight


def weights(
    slot: Int[np.ndarray, "T M"], weight: Float[np.ndarray, "T K"]
) -> Float[np.ndarray, "T M"]:
    """Returns the weight of each track's detection in each frame, 0 for none."""
    return np.where(slot >= 0, np.take_along_axis(weight, np.maximum(slot, 0), axis=1), 0.0)


def share_trusted(
    slot: Int[np.ndarray, "T M"], weight: Float[np.ndarray, "T K"]
) -> Float[np.ndarray, " M"]:
    """Returns the share of each track's detections that the imaging model explains."""
    return np.sum(weights(slot, weight) == 1, axis=0) / np.maximum(np.sum(slot >= 0, axis=0), 1)


def summarise(
    found: Sequence[FrameTargets | None],
    paths: Sequence[Path],
    slot: Int[np.ndarray, "T M"],
    centre: Float[np.ndarray, "2"],
    factor: Float[np.ndarray, " M"],
    trend_variance: float,
) -> Tracks:
    """Builds the tracks from smoothed paths.

    Args:
      found: targets of each frame.
      paths: smoothed tracks.
      slot: detection of each track in each frame.
      centre: centre of the frame, which positions of the paths are relative to.
      factor: factors of the covariances.
      trend_variance: as `camera.Shifts` has it.
    """
    shape = slot.shape
    position, velocity = np.zeros((*shape, 2)), np.zeros((*shape, 2))
    spread, drift = np.tile(np.eye(2), (2, *shape, 1, 1))
    span, intensity = np.zeros(shape, bool), np.zeros(shape)
    for number, path in enumerate(paths):
        at = path.frame, number
        mean, covariance = path.states.mean, factor[number] * path.states.covariance
        position[at], velocity[at], span[at] = mean[:, :2] + centre, mean[:, 2:], True
        spread[at] = covariance[:, :2, :2]
        drift[at] = covariance[:, 2:, 2:] + trend_variance * np.eye(2)
        lights = [
            float(frame.targets.intensity[one])
            for frame, one in zip(found, slot[:, number], strict=True)
            if frame is not None and one >= 0
        ]
        intensity[at] = np.mean(lights)
    hit = np.asarray(_hits(spread))
    share = np.sum(slot >= 0, axis=0) / np.maximum(np.sum(span, axis=0), 1)
    return Tracks(
        targets=Targets(
            position=position,
            intensity=intensity,
            mask=span,
            score=np.where(span, share * hit.mean(axis=-1), 0.0),
            covariance=spread,
            hit_probability=hit,
        ),
        velocity=velocity,
        detection=slot,
        velocity_covariance=drift,
    )


@jax.jit
def _hits(covariance: Float[Array, "T M 2 2"]) -> Float[Array, "T M R"]:
    """Computes the probability that a target lies within each matching radius."""
    return jnp.stack([disc_probability(covariance, radius) for radius in RADII], axis=-1)
