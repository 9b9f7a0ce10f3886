"""Sums over images of all that needs no ranking of the detections, and the scores they give."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from distax.imaging.targets import CREDIBLE_LEVELS, Targets
from distax.metrics import (
    RADII,
    CoverageSums,
    DetectionSums,
    ExactMean,
    ExactSum,
    LocalizationSums,
    Pairing,
    by_key,
    by_radius,
    gospa,
    pair_within,
)
from distax.runtime.pytree import pytree


@pytree
class GridQuality:
    """PSNR in dB and SSIM of each grid of a batch."""

    psnr: Float[Array, " B"]
    ssim: Float[Array, " B"]


@pytree
class QualitySums:
    """Sums of the quality of grids."""

    psnr: ExactMean
    ssim: ExactMean

    @classmethod
    def of(cls, quality: GridQuality) -> "QualitySums":
        """Computes the sums of grids."""
        everywhere = jnp.full(quality.psnr.shape, True)
        return cls(
            psnr=ExactMean.of(quality.psnr, everywhere), ssim=ExactMean.of(quality.ssim, everywhere)
        )


@pytree
class ImageSums:
    """Sums over images of all that needs no ranking of the detections.

    Attributes:
      localization: sums of counts and position errors.
      detection: sums of pairs within the matching radii.
      gospa: sum of the GOSPA distances.
      bound: sum over all targets of the Cramér–Rao bound on the squared distance in px²; None for a
        sensor without noise and rounding.
      coverage: sums for the coverage of credible regions; None if none are reported.
    """

    localization: LocalizationSums
    detection: DetectionSums
    gospa: ExactMean
    bound: ExactSum | None
    coverage: CoverageSums | None

    @classmethod
    def of(
        cls,
        found: Targets,
        truth: Targets,
        pairing: Pairing,
        bound: Float[Array, "*batch"] | None,
    ) -> "ImageSums":
        """Computes the sums of images.

        Args:
          found: the targets found, `[..., K]`.
          truth: the true targets `[..., M]`.
          pairing: their pairs, by `assign`.
          bound: bound on the squared distance in px², summed over each image's targets, or None.
        """
        distance = gospa(found, truth).distance
        everywhere = jnp.full(distance.shape, True)
        return cls(
            localization=LocalizationSums.of(found, truth, pairing),
            detection=DetectionSums.of(found, truth, pair_within(found, truth, jnp.array(RADII))),
            gospa=ExactMean.of(distance, everywhere),
            bound=None if bound is None else ExactSum.of(bound, everywhere),
            coverage=None if found.credible_radius is None else CoverageSums.of(found, pairing),
        )

    def scores(self) -> dict[str, Any]:
        """Computes the scores by their names in `Evaluation`; NaN for those not defined."""
        localization, coverage = self.localization, self.coverage
        return {
            "count_accuracy": localization.count_accuracy,
            "rmse": localization.rmse,
            "bound": None
            if self.bound is None
            else jnp.sqrt(self.bound.total / localization.targets),
            "within": by_radius(localization.share_within),
            "coverage": None if coverage is None else by_key(CREDIBLE_LEVELS, coverage.coverage),
            "rates": by_radius(self.detection.scores()),
            "gospa": self.gospa.mean,
        }
