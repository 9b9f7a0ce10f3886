"""Error ellipses of targets, and the part of an image around targets."""

import math
from typing import Any

import numpy as np
from jaxtyping import Array, Float

from distax.runtime.optional import require

REGION = 0.95
"""Probability that an error ellipse contains its target, for Gaussian errors."""
ELLIPSE: dict[str, Any] = {"color": "gold", "linewidth": 1.2}
"""Style of error ellipses."""


def surroundings(position: Float[np.ndarray, "K 2"]) -> tuple[float, float, float, float]:
    """Returns the left, right, bottom and top edge of a square around targets, in pixels."""
    row, column = position.mean(axis=0).tolist()
    reach = max(1.0, float(np.ptp(position, axis=0).max())) + 0.5
    return column - reach, column + reach, row + reach, row - reach


def draw_ellipses(
    ax,
    position: Float[Array | np.ndarray, "K 2"],
    covariance: Float[Array | np.ndarray, "K 2 2"] | None,
) -> None:
    """Draws error ellipses of probability `REGION` around targets.

    Args:
      ax: matplotlib axes in pixels, columns to the right and rows downwards.
      position: rows and columns in pixels.
      covariance: covariances of the positions in px²; None draws nothing.
    """
    require("matplotlib", "figures")
    from matplotlib.patches import Ellipse

    if covariance is None:
        return
    for (row, column), (major, minor, angle) in zip(
        np.asarray(position), error_ellipses(covariance), strict=True
    ):
        size = 2 * major, 2 * minor
        ax.add_patch(Ellipse((column, row), *size, angle=np.degrees(angle), fill=False, **ELLIPSE))


def error_ellipses(
    covariance: Float[Array | np.ndarray, "K 2 2"],
) -> Float[np.ndarray, "K 3"]:
    """Returns the error ellipses of probability `REGION`.

    Args:
      covariance: covariances of rows and columns in px².

    Returns:
      `[K, 3]`: larger and smaller semi-axis in pixels, and the angle in radians of the larger one,
      measured from the direction of growing columns to that of growing rows.
    """
    variance, axes = np.linalg.eigh(np.asarray(covariance, np.float64))
    # A bivariate Gaussian lies within r standard deviations with probability 1 − exp(−r² / 2).
    reach = math.sqrt(-2 * math.log(1 - REGION)) * np.sqrt(np.maximum(variance, 0.0))
    angle = np.arctan2(axes[:, 0, 1], axes[:, 1, 1])
    return np.stack([reach[:, 1], reach[:, 0], angle], axis=-1)
