"""Sums over frames, and the scores that they give."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from distax.imaging.targets import Targets
from distax.metrics import (
    RADII,
    CsoSums,
    DetectionSums,
    ExactMean,
    all_best_partners_on_host,
    by_radius,
    gospa,
    pair_within,
)
from distax.runtime.pytree import pytree

_COARSE = 8
"""Logarithm to base 2 of the number of score bins in an octave. There are few frames, and many
targets in each."""


@pytree
class FrameCounts:
    """Counts of frames, merged by adding.

    Attributes:
      pixels: number of pixels.
      groups: number of true clusters and stars.
      seen: number of those with a blob within three pixels.
      right: number of those whose blob has the right number of targets.
      false_blobs: number of blobs without a true target within three pixels.
      near: `[R]`, number of true targets with a found one within each matching radius.
      detected: number of true targets with a partner less than three pixels away, one to one.
    """

    pixels: Float[Array, "*frames"]
    groups: Int[Array, "*frames"]
    seen: Int[Array, "*frames"]
    right: Int[Array, "*frames"]
    false_blobs: Int[Array, "*frames"]
    near: Int[Array, "*frames R"]
    detected: Int[Array, "*frames"]


@pytree
class FrameSums:
    """Sums over frames, merged by adding.

    Attributes:
      counts: counts of blobs and targets.
      detection: sums of pairs within the matching radii.
      gospa: sum of the GOSPA distances.
      ranked: sums for CSO-mAP.
    """

    counts: FrameCounts
    detection: DetectionSums
    gospa: ExactMean
    ranked: CsoSums

    @classmethod
    def of(cls, found: Targets, truth: Targets, counts: FrameCounts) -> "FrameSums":
        """Computes the sums of each frame, with frames along a leading axis.

        Args:
          found: the targets found, `[F, K]`.
          truth: the true targets `[F, M]`.
          counts: counts `[F]`.
        """
        solve = all_best_partners_on_host
        frames = len(truth.mask)
        distance = gospa(found, truth, solve=solve).distance
        partner = pair_within(found, truth, jnp.array(RADII), solve=solve)
        return cls(
            counts=counts,
            detection=jax.vmap(DetectionSums.of)(found, truth, partner),
            gospa=jax.vmap(ExactMean.of)(distance, jnp.full(frames, True)),
            ranked=CsoSums.by_part(found, truth, jnp.arange(frames), frames, mantissa_bits=_COARSE),
        )

    def scores(self) -> dict[str, Any]:
        """Computes the scores by their names in `FrameEvaluation`; NaN for those not defined."""
        counts, detection, value = self.counts, self.detection, self.ranked.value()
        false = detection.found - counts.detected
        return {
            "cso_map": value.mean,
            "ap": by_radius(value.ap),
            "blob_recall": counts.seen / counts.groups,
            "recall": by_radius(counts.near / detection.targets),
            "false_blobs": counts.false_blobs / detection.images,
            "right_count": counts.right / counts.seen,
            "pd": counts.detected / detection.targets,
            "fa": false / counts.pixels,
            "rates": by_radius(detection.scores()),
            "gospa": self.gospa.mean,
        }
