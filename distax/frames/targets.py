"""What unmixing a frame finds."""

import enum
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from distax.frames.background import Background
from distax.frames.blobs import Blobs
from distax.imaging.targets import Targets


class Flag(enum.IntFlag):
    """What to know about a target before relying on it; several can hold at once.

    Attributes:
      CLIPPED: a pixel of the blob's window is saturated and only says "at least".
      BORDER: the blob's window reaches beyond the frame, so that part of the flux may be missing.
      CROWDED: pixels of the blob's window are nearer to another blob and were left out of the fit.
      NEAR_DEGENERATE: the distance to another target of the blob is less than three times its
        standard deviation: the two may be one, or trade places.
      UNSURE: the imaging model does not explain the window (a wrong PSF, a bad pixel, something
        extended), or another number of targets is nearly as likely.
    """

    CLIPPED = 1
    BORDER = 2
    CROWDED = 4
    NEAR_DEGENERATE = 8
    UNSURE = 16

    @property
    def names(self) -> tuple[str, ...]:
        """Those that hold, in lower case."""
        return tuple(str(flag.name).lower() for flag in self)


@dataclass(frozen=True)
class FrameTargets:
    """The targets of a frame, and what they were found in.

    Targets come in the order of their blobs, those of a blob in falling score. Arrays are NumPy's;
    positions are float64, as a float32 does not hold a thousandth of a pixel in a large frame.

    Attributes:
      targets: `[K]`, no padding: row and column in the frame, (0, 0) being the centre of its first
        pixel; intensity in the frame's counts above the background; score, covariance,
        intensity_std, hit_probability and credible_radius as the method states them. What
        `Targets` holds for an image is None here; the next four stand for it.
      blob: `[K]`, number of the blob that each target belongs to: its place in `blobs`.
      flags: `[K]`, of `Flag`.
      misfit: `[K]`, root-mean-square residual of the blob's window in units of what noise
        explains; about 1 where the imaging model holds.
      count_probability: `[K]`, that the blob has as many targets as were found.
      blobs: every blob above the threshold, the most significant first, also those in which no
        target was found.
      local_level: `[B]`, counts that the background's map was off by around each blob.
      background: its level and noise in counts, as maps.
      threshold: signal-to-noise ratio above which a peak was taken for a blob.
    """

    targets: Targets
    blob: Int[np.ndarray, " K"]
    flags: Int[np.ndarray, " K"]
    misfit: Float[np.ndarray, " K"]
    count_probability: Float[np.ndarray, " K"]
    blobs: Blobs
    local_level: Float[np.ndarray, " B"]
    background: Background
    threshold: float
