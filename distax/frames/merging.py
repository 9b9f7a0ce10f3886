"""Merging of the windows' results into one list of targets in frame coordinates."""

from dataclasses import replace

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from distax.frames.cutouts import Cutouts
from distax.frames.targets import Flag
from distax.imaging.targets import Targets

_DEGENERATE = 3.0
"""Distance between two targets in its standard deviations below which they count as degenerate. A
larger limit flags more pairs that are in fact resolved."""


def in_frame(
    found: Targets, corner: Int[np.ndarray, "B 2"], unit: Float[np.ndarray, " B"]
) -> tuple[Targets, Int[np.ndarray, " K"]]:
    """Converts results of windows to one list of targets in frame coordinates and counts.

    Args:
      found: `[B, K]`, results in window coordinates and the estimator's counts.
      corner: `[B, 2]`, first pixel of each window in the frame.
      unit: `[B]`, frame counts per count of the estimator.

    Returns:
      The targets without padding, and the index of each one's blob.
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
    """Finds targets that repeat a better-scored target of another blob.

    Pairs are handled greedily, in the order of their better score.

    Args:
      targets: targets in frame coordinates.
      blob: index of each target's blob.
      distance: distance in pixels up to which targets of two blobs are the same.

    Returns:
      True for the targets to drop.
    """
    from scipy.spatial import cKDTree

    repeated = np.zeros(len(blob), bool)
    if not len(blob):
        return repeated
    pairs = cKDTree(targets.position).query_pairs(distance, output_type="ndarray")
    pairs = pairs[blob[pairs[:, 0]] != blob[pairs[:, 1]]]
    better = np.asarray(targets.score)[pairs]
    for first, second in pairs[np.argsort(-better.max(axis=1), kind="stable")]:
        if not (repeated[first] or repeated[second]):
            worse = second if targets.score[first] >= targets.score[second] else first
            repeated[worse] = True
    return repeated


def near_degenerate(targets: Targets, blob: Int[np.ndarray, " K"]) -> Bool[np.ndarray, " K"]:
    """Finds targets closer to another of their blob than three standard deviations of the distance.

    The standard deviation is taken along the line between the two, with independent errors. No
    target is marked if the method states no covariance.
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
    """Returns the indices of each blob's targets, for blobs with several."""
    order = np.argsort(blob, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(blob[order])) + 1)
    return [part for part in parts if len(part) > 1]


def flags_of_windows(
    middle: Cutouts,
    taken: Bool[np.ndarray, "B width width"],
    trusted: Bool[Array | np.ndarray, " B"] | None,
) -> Int[np.ndarray, " B"]:
    """Returns the flags that all targets of a blob share.

    Args:
      middle: the fitted pixels of each window.
      taken: True for pixels left out because they are nearer to another blob.
      trusted: True for windows that the method trusts; None for no flag `UNSURE`.
    """

    def flag_where(flag: Flag, where: np.ndarray) -> np.ndarray:
        return np.where(where, int(flag), 0)

    pixels = (1, 2)
    flags = flag_where(
        Flag.CLIPPED, np.any(middle.clipped & np.isfinite(middle.counts), axis=pixels)
    )
    flags |= flag_where(Flag.BORDER, ~np.all(middle.inside, axis=pixels))
    flags |= flag_where(Flag.CROWDED, np.any(taken, axis=pixels))
    return flags if trusted is None else flags | flag_where(Flag.UNSURE, ~np.asarray(trusted))
