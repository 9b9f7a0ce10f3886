"""Targets found in a frame, with their flags."""

import enum
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from distax.frames.background import Background
from distax.frames.blobs import Blobs
from distax.frames.psf import PsfCheck
from distax.imaging.targets import Targets


class Flag(enum.IntFlag):
    """Reasons to doubt a target; several can hold at once.

    Attributes:
      CLIPPED: a pixel of the blob's window is saturated, and only bounds the light from below.
      BORDER: the blob's window reaches beyond the frame, so that part of the flux may be missing.
      CROWDED: the blob's window overlaps with another's. Pixels that are nearer to the other were
        left out, or both were fitted jointly; see `FrameUnmixer.crowded`.
      NEAR_DEGENERATE: the distance to another target of the blob is less than three times its
        standard deviation: the two may be one target, or have exchanged places.
      EXTENDED: the blob is one spot wider than the PSF, and no cluster of points explains it. The
        position is its centroid and the intensity its flux.
      UNSURE: the imaging model does not explain the window (a wrong PSF, a bad pixel, an extended
        object), or another number of targets is nearly as likely. Or the blob is more likely part
        of a line or an edge.
    """

    CLIPPED = 1
    BORDER = 2
    CROWDED = 4
    NEAR_DEGENERATE = 8
    UNSURE = 16
    EXTENDED = 32

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the flags that hold, in lower case."""
        return tuple(str(flag.name).lower() for flag in self)


@dataclass(frozen=True)
class FrameTargets:
    """Targets of a frame, with the blobs and the background they were found in.

    Targets are in the order of their blobs, and within a blob in falling score. If the background
    is textured, those without the flag `UNSURE` come first. Arrays are NumPy's. Positions are
    float64, as float32 does not resolve a thousandth of a pixel in a large frame.

    Attributes:
      targets: `[K]`, no padding: row and column in the frame, (0, 0) being the centre of its first
        pixel; intensity in the frame's counts above the background; score, covariance,
        intensity_std, hit_probability and credible_radius as the method states them. Fields of
        `Targets` that describe a whole image are None.
      blob: `[K]`, index in `blobs` of each target's blob.
      flags: `[K]`, sums of `Flag`.
      misfit: `[K]`, root-mean-square residual of the blob's window in units of the noise; about 1
        where the imaging model holds.
      count_probability: `[K]`, probability that the blob has as many targets as were found.
      blobs: every blob above the threshold, the most significant first, with or without targets.
      local_level: `[B]`, correction in counts of the background's map around each blob.
      background: maps of the background's level and noise in counts.
      threshold: signal-to-noise ratio above which a peak counts as a blob.
      noise_kind: kind of the noise, which sets the threshold; see `detection.Noise`.
      psf: PSF that was assumed, and how well it holds.
      point_probability: `[K]`, probability that the blob is a point, a cluster of points or a spot,
        and no part of a line or an edge, by which the score is multiplied. None for a PSF that is
        measured or varies over the frame.
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
    noise_kind: str = "gaussian"
    psf: PsfCheck | None = None
    point_probability: Float[np.ndarray, " K"] | None = None
