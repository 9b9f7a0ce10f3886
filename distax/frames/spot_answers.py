"""Answers of blobs that are one spot: they take the place of the points that were fitted to it."""

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from distax.frames.shapes import Shapes
from distax.imaging.targets import CREDIBLE_LEVELS, OF_TARGETS, Targets
from distax.metrics import RADII

_INSIDE = 2.0
"""Widths of an extended spot within which other blobs are parts of it. Fewer leave its noise as
targets, more hide neighbours."""


def absorbed(
    shapes: Shapes, pixel: Int[np.ndarray, "B 2"], signal_to_noise: Float[np.ndarray, " B"]
) -> Bool[np.ndarray, " B"]:
    """Finds blobs that lie within a more significant extended one.

    Args:
      shapes: shapes of the blobs.
      pixel: row and column of each blob's peak.
      signal_to_noise: signal-to-noise ratio of each blob, the highest first.
    """
    inside = np.zeros(len(pixel), bool)
    for spot in np.flatnonzero(shapes.extended):
        if not inside[spot]:
            away = (pixel - shapes.place[spot]) / shapes.width[spot]
            near = np.sum(away**2, axis=1) < _INSIDE**2
            inside |= near & (np.arange(len(pixel)) > spot)
    return inside


def with_spots(
    targets: Targets, blob: Int[np.ndarray, " K"], shapes: Shapes, hidden: Bool[np.ndarray, " B"]
) -> tuple[Targets, Int[np.ndarray, " N"]]:
    """Replaces the targets of blobs that are one spot by that spot.

    Args:
      targets: targets of all blobs, in frame coordinates.
      blob: index of each target's blob.
      shapes: shapes of the blobs.
      hidden: True for blobs whose targets are dropped.

    Returns:
      The targets in the order of their blobs, and the index of each one's blob.
    """
    single = np.flatnonzero(shapes.single & ~hidden)
    kept = np.flatnonzero(~(shapes.single | hidden)[blob])
    if not len(single) and len(kept) == len(blob):
        return targets, blob
    covariance = shapes.place_std[single, :, None] ** 2 * np.eye(2)
    # Probabilities and radii are those of a round error, which is exact for a round PSF.
    error = np.sqrt(np.prod(shapes.place_std[single], axis=1))[:, None]
    hit = -np.expm1(-(np.array(RADII) ** 2) / (2 * error**2))
    radius = error * np.sqrt(-2 * np.log1p(-np.array(CREDIBLE_LEVELS)))
    spots = Targets(
        position=shapes.place[single],
        intensity=shapes.flux[single],
        mask=np.ones(len(single), bool),
        score=hit.mean(axis=-1),
        covariance=covariance,
        intensity_std=shapes.flux_std[single],
        hit_probability=hit,
        credible_radius=radius,
    )
    # A method may not state its errors.
    stated = {
        name: getattr(spots, name) for name in OF_TARGETS if getattr(targets, name) is not None
    }
    spots = Targets(mask=spots.mask, **stated)
    some = jax.tree.map(lambda leaf: leaf[kept], targets)
    both = jax.tree.map(lambda *leaves: np.concatenate(leaves), some, spots)
    of_blob = np.concatenate([blob[kept], single])
    order = np.argsort(of_blob, kind="stable")
    ordered: Targets = jax.tree.map(lambda leaf: leaf[order], both)
    return ordered, of_blob[order]
