"""Estimation of the targets of a sequence from all frames together."""

from collections.abc import Callable

import jax
import numpy as np
from jaxtyping import Array, Float

from distax.imaging.motion import SEQCSIST, MotionPrior
from distax.imaging.targets import Targets
from distax.tracking.association import Tracker
from distax.tracking.joint import fit_paths
from distax.tracking.tracks import track, unmix_sequences
from distax.unmixer import Unmixer


def unmix_linked(
    unmixer: Unmixer,
    frames: Float[Array | np.ndarray, "N T height width"],
    prior: MotionPrior = SEQCSIST,
    advance: Callable[[int], object] | None = None,
) -> Targets:
    """Unmixes every frame of sequences, links the targets, and fits their paths to all pixels.

    Args:
      unmixer: the unmixer of single frames; see `unmix_sequences`.
      frames: raw sequences in counts.
      prior: prior of the motion. Default: SeqCSIST's.
      advance: as for `unmix_sequences`.

    Returns:
      Targets `[N, T, K]`, as `joint.fit_paths` returns them.

    Raises:
      DistaxError: as `unmix_sequences`.
    """
    found = unmix_sequences(unmixer, frames, advance)
    tracks = track(found, Tracker.for_prior(prior)).targets
    return jax.tree.map(np.asarray, fit_paths(frames, found, tracks, unmixer.sensor, prior))
