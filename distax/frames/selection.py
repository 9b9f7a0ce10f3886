"""Selection of a frame's targets: the trusted, the best, those above a score or in the frame."""

from dataclasses import replace

import jax
import numpy as np
from jaxtyping import Int

from distax.frames.targets import Flag, FrameTargets


def selected(
    found: FrameTargets, best: int | None, min_score: float, trusted_only: bool
) -> FrameTargets:
    """Keeps some of a frame's targets, in their order. Blobs stay as they are.

    Args:
      found: the targets of a frame.
      best: number of targets that are kept: trusted ones first, then by score; None for all.
      min_score: least score.
      trusted_only: True leaves out targets with the flag `UNSURE`.
    """
    unsure = (found.flags & int(Flag.UNSURE)) > 0
    score = np.asarray(found.targets.score)
    kept = np.flatnonzero((score >= min_score) & ~(trusted_only & unsure))
    if best is not None:
        rank = np.lexsort((-score[kept], unsure[kept]))
        kept = np.sort(kept[rank[:best]])
    return _keep(found, kept)


def within_frame(found: FrameTargets) -> FrameTargets:
    """Leaves out targets whose position is on no pixel of the frame. Blobs stay as they are.

    Light at a frame's edge may be that of a source beyond it, whose position is a guess.
    """
    position = np.asarray(found.targets.position)
    inside = (position >= -0.5) & (position <= np.array(found.background.shape) - 0.5)
    return _keep(found, np.flatnonzero(inside.all(axis=-1)))


def _keep(found: FrameTargets, kept: Int[np.ndarray, " K"]) -> FrameTargets:
    """Returns the targets of the given indices."""
    if len(kept) == len(found.blob):
        return found
    names = ("targets", "blob", "flags", "misfit", "count_probability", "point_probability")
    per_target = {name: getattr(found, name) for name in names}
    return replace(found, **jax.tree.map(lambda leaf: leaf[kept], per_target))
