"""Estimation of the targets of a sequence from all frames together."""

import jax
import numpy as np
from jaxtyping import Array, Float

from distax.imaging.targets import Targets
from distax.tracking.association import Tracker
from distax.tracking.tracks import track, unmix_sequences
from distax.unmixer import Unmixer


def unmix_linked(
    unmixer: Unmixer,
    frames: Float[Array | np.ndarray, "N T height width"],
    tracker: Tracker = Tracker(),
) -> Targets:
    """Unmixes every frame of sequences, and estimates the targets from all frames together.

    Args:
      unmixer: as for `unmix_sequences`.
      frames: raw sequences in counts.
      tracker: links the targets of the frames.

    Returns:
      Targets `[N, T, K]`; a slot is the same target in every frame.

    Raises:
      DistaxError: as `unmix_sequences`.
    """
    return jax.tree.map(np.asarray, track(unmix_sequences(unmixer, frames), tracker).targets)
