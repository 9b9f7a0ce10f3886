"""What is drawn over pictures of images and frames alike."""

import math

import numpy as np
from jaxtyping import Array, Float

from distax.runtime.optional import require

REGION = 0.95
"""Probability that an error ellipse holds its target, errors being Gaussian."""


def draw_ellipses(
    ax,
    position: Float[Array | np.ndarray, "K 2"],
    covariance: Float[Array | np.ndarray, "K 2 2"] | None,
) -> None:
    """Error ellipses around targets; nothing without a covariance.

    Args:
      ax: axes of matplotlib, columns to the right and rows downwards, in pixels.
      position: rows and columns in pixels.
      covariance: of the positions in px².
    """
    require("matplotlib", "figures")
    from matplotlib.patches import Ellipse

    if covariance is None:
        return
    variance, axes = np.linalg.eigh(np.asarray(covariance, np.float64))
    # A Gaussian point of the plane lies within r standard deviations with 1 − exp(−r² / 2).
    diameter = 2 * math.sqrt(-2 * math.log(1 - REGION)) * np.sqrt(np.maximum(variance, 0.0))
    for (row, column), (minor, major), turned in zip(
        np.asarray(position), diameter, axes, strict=True
    ):
        angle = math.degrees(math.atan2(turned[0, 1], turned[1, 1]))
        style = {"facecolor": "none", "edgecolor": "gold", "linewidth": 1.2}
        ax.add_patch(Ellipse((column, row), major, minor, angle=angle, **style))
