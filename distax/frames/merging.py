"""From the windows' answers to one list of targets in frame coordinates."""

from dataclasses import replace

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from distax.frames.cutouts import Cutouts
from distax.frames.targets import Flag
from distax.imaging.targets import Targets

_DEGENERATE = 3.0
"""Standard deviations of the distance between two targets below which it says little."""


def in_frame(
    found: Targets, corner: Int[np.ndarray, "B 2"], unit: Float[np.ndarray, " B"]
) -> tuple[Targets, Int[np.ndarray, " K"]]:
    """Answers `[B, K]` about windows as one list of targets, and the blob of each.

    Args:
      found: in window coordinates and the estimator's counts.
      corner: first pixel of each window in the frame.
      unit: counts that one of the estimator's stands for.
    """
    blob, slot = np.nonzero(np.asarray(found.mask))
    slots = replace(found, count_probability=None, misfit=None, trusted=None)
    flat: Targets = jax.tree.map(lambda leaf: np.asarray(leaf)[blob, slot], slots)
    deviation = flat.intensity_std
    targets = replace(
        flat,
        position=flat.position.astype(np.float64) + corner[blob],
        intensity=flat.intensity * unit[blob],
        intensity_std=None if deviation is None else deviation * unit[blob],
    )
    return targets, blob


def duplicates(
    targets: Targets, blob: Int[np.ndarray, " K"], distance: float
) -> Bool[np.ndarray, " K"]:
    """Targets that another blob's better-scored target within a distance makes superfluous."""
    from scipy.spatial import cKDTree

    superfluous = np.zeros(len(blob), bool)
    if not len(blob):
        return superfluous
    pairs = cKDTree(targets.position).query_pairs(distance, output_type="ndarray")
    pairs = pairs[blob[pairs[:, 0]] != blob[pairs[:, 1]]]
    better = np.asarray(targets.score)[pairs]
    for first, second in pairs[np.argsort(-better.max(axis=1), kind="stable")]:
        if not (superfluous[first] or superfluous[second]):
            worse = second if targets.score[first] >= targets.score[second] else first
            superfluous[worse] = True
    return superfluous


def near_degenerate(targets: Targets, blob: Int[np.ndarray, " K"]) -> Bool[np.ndarray, " K"]:
    """Targets whose distance to one of the same blob is within three standard deviations of zero.

    The standard deviation is that along the line between the two, their errors taken as
    independent. A method that states no covariance says nothing.
    """
    near = np.zeros(len(blob), bool)
    if targets.covariance is None:
        return near
    for members in _groups(blob):
        step = targets.position[members][:, None] - targets.position[members]
        spread = targets.covariance[members][:, None] + targets.covariance[members]
        squared = np.sum(step**2, axis=-1)
        variance = np.einsum("abi,abij,abj->ab", step, spread, step) / np.maximum(squared, 1e-30)
        close = squared < _DEGENERATE**2 * variance
        near[members] = np.any(close & ~np.eye(len(members), dtype=bool), axis=1)
    return near


def _groups(blob: Int[np.ndarray, " K"]) -> list[np.ndarray]:
    """Indices of each blob's targets, for blobs with several."""
    order = np.argsort(blob, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(blob[order])) + 1)
    return [part for part in parts if len(part) > 1]


def flags_of_windows(
    middle: Cutouts,
    taken: Bool[np.ndarray, "B width width"],
    trusted: Bool[Array | np.ndarray, " B"] | None,
) -> Int[np.ndarray, " B"]:
    """The flags that hold for all targets of a blob.

    Args:
      middle: the pixels of each window that were fitted.
      taken: those left out because they are nearer to another blob.
      trusted: by the method's own account.
    """

    def holds(flag: Flag, where: np.ndarray) -> np.ndarray:
        return np.where(where, int(flag), 0)

    pixels = (1, 2)
    flags = holds(Flag.CLIPPED, np.any(middle.clipped & np.isfinite(middle.counts), axis=pixels))
    flags |= holds(Flag.BORDER, ~np.all(middle.inside, axis=pixels))
    flags |= holds(Flag.CROWDED, np.any(taken, axis=pixels))
    return flags if trusted is None else flags | holds(Flag.UNSURE, ~np.asarray(trusted))
