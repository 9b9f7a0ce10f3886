"""Gating: detections, and the likelihood that each belongs to a track."""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from distax.runtime.pytree import pytree
from distax.tracking.kalman import States


@pytree
class Detections:
    """Measured positions of every frame, padded to K slots.

    Attributes:
      position: `[..., K, 2]` in pixels.
      covariance: `[..., K, 2, 2]` in px².
      mask: `[..., K]`, False for padding.
    """

    position: Float[Array | np.ndarray, "*batch K 2"]
    covariance: Float[Array | np.ndarray, "*batch K 2 2"]
    mask: Bool[Array | np.ndarray, "*batch K"]


def gate_threshold(probability: float) -> float:
    """Returns the squared Mahalanobis distance that two Gaussian errors exceed by chance.

    Args:
      probability: probability that they do not exceed it.
    """
    return -2 * math.log1p(-probability)


def log_likelihood_ratio(
    states: States,
    alive: Bool[Array, " M"],
    found: Detections,
    gate: float,
    clutter_density: float,
) -> Float[Array, "M K"]:
    """Returns the log likelihood of each pair over the clutter density; 0 outside the gate.

    Args:
      states: predicted states of tracks, `[M]`.
      alive: False for tracks that have ended.
      found: detections of a frame, `[K]`.
      gate: largest squared Mahalanobis distance of a detection inside a track's gate.
      clutter_density: density of detections without a track per px².
    """
    offset = found.position - states.position[:, None]
    spread = found.covariance + states.position_covariance[:, None]
    (row, mixed), (_, column) = jnp.moveaxis(spread, (-2, -1), (0, 1))
    determinant = row * column - mixed**2
    y, x = jnp.moveaxis(offset, -1, 0)
    distance = (column * y**2 - 2 * mixed * x * y + row * x**2) / determinant
    log_density = -0.5 * (distance + jnp.log(determinant)) - math.log(2 * math.pi)
    gated = alive[:, None] & found.mask & (distance <= gate)
    return jnp.where(gated, log_density - jnp.log(clutter_density), 0.0)
