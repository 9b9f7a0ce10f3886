"""Order of targets and blobs in pictures: the most trustworthy first."""

import numpy as np
from jaxtyping import Int

from distax.frames import Flag, FrameTargets


def doubt(flags: Int[np.ndarray, " K"] | int) -> Int[np.ndarray, " K"]:
    """Grades the doubt about targets: 0 for no flag, 2 for the flag `unsure`, 1 for other flags.

    Args:
      flags: sums of `Flag`.
    """
    flags = np.atleast_1d(flags)
    return np.where(flags & Flag.UNSURE, 2, (flags != 0).astype(int))


def best_targets(found: FrameTargets) -> Int[np.ndarray, " K"]:
    """Orders targets by doubt, then by falling score, then by falling intensity."""
    targets = found.targets
    return np.lexsort((-targets.intensity, -targets.score, doubt(found.flags)))


def interesting_blobs(found: FrameTargets) -> Int[np.ndarray, " B"]:
    """Orders blobs for close-ups.

    Blobs with targets come before empty ones. Among them, blobs whose targets are less in doubt
    come first, then blobs of several targets, then the most significant.
    """
    members = np.bincount(found.blob, minlength=len(found.blobs.pixel))
    worst = np.zeros(len(members), int)
    np.maximum.at(worst, found.blob, doubt(found.flags))
    return np.lexsort((-found.blobs.signal_to_noise, members < 2, worst, members == 0))
