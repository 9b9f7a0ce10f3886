"""Sums of an evaluation: pytrees that are merged over batches and devices by adding them."""

import math
from dataclasses import replace
from operator import itemgetter

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from distax.evaluation.results import Evaluation, GroupResult, Reliability
from distax.imaging.scenes import ScenePrior
from distax.imaging.sensor import Sensor
from distax.imaging.targets import CREDIBLE_LEVELS, Targets
from distax.metrics import (
    RADII,
    CoverageSums,
    CsoSums,
    ExactSum,
    LocalizationSums,
    ReliabilitySums,
    assign,
    cramer_rao,
    is_ideal,
)
from distax.runtime.pytree import pytree


@pytree
class GroupSums:
    """Sums over a group of images.

    Attributes:
      cso: sums for CSO-mAP with detections ranked by their score.
      localization: sums of counts and position errors.
      bound: sum over all targets of the Cramér–Rao bound on the squared distance in px²; None for a
        sensor without noise and rounding.
      coverage: sums for the coverage of credible regions; None if none are reported.
    """

    cso: CsoSums
    localization: LocalizationSums
    bound: ExactSum | None
    coverage: CoverageSums | None

    def value(self) -> GroupResult:
        """Computes the results from the sums."""
        cso, localization = self.cso.value(), self.localization
        return GroupResult(
            images=int(localization.images),
            count_accuracy=float(localization.count_accuracy),
            cso_map_by_score=float(cso.mean),
            ap_by_score=_by_radius(cso.ap),
            rmse=float(localization.rmse) if localization.pairs else None,
            bound=self._root_mean_bound(),
            within=_by_radius(localization.share_within) if localization.targets else None,
            coverage=self._coverage_by_level(),
        )

    def _root_mean_bound(self) -> float | None:
        if self.bound is None or not self.localization.targets:
            return None
        value = math.sqrt(self.bound.total / self.localization.targets)
        return value if math.isfinite(value) else None

    def _coverage_by_level(self) -> dict[str, float] | None:
        if self.coverage is None or not self.coverage.regions:
            return None
        shares = zip(CREDIBLE_LEVELS, self.coverage.coverage, strict=True)
        return {f"{level:.2f}": float(share) for level, share in shares}


@pytree
class GridQuality:
    """PSNR in dB and SSIM of each grid of a batch."""

    psnr: Float[Array, " B"]
    ssim: Float[Array, " B"]


@pytree
class QualitySums:
    """Sums of the quality of grids, and their number."""

    grids: Int[Array, ""]
    psnr: ExactSum
    ssim: ExactSum

    @classmethod
    def of(cls, quality: GridQuality, valid: Bool[Array, " B"]) -> "QualitySums":
        """Sums over the valid grids of a batch."""
        return cls(
            grids=jnp.sum(valid),
            psnr=ExactSum.of(quality.psnr, where=valid),
            ssim=ExactSum.of(quality.ssim, where=valid),
        )

    @property
    def means(self) -> tuple[float, float]:
        """Mean PSNR in dB and mean SSIM."""
        return float(self.psnr.total / self.grids), float(self.ssim.total / self.grids)


@pytree
class EvaluationSums:
    """The sums of an evaluation. Their size does not depend on the number of images.

    Attributes:
      published: sums for CSO-mAP with detections ranked by intensity, as published.
      by_count: the other sums for each number of true targets, along a leading axis.
      reliability: sums of hit probabilities; None if none are reported.
      quality: sums of the quality of grids; None for estimators without a grid.
    """

    published: CsoSums
    by_count: GroupSums
    reliability: ReliabilitySums | None
    quality: QualitySums | None

    @classmethod
    def of(
        cls,
        found: Targets,
        truth: Targets,
        valid: Bool[Array, " B"],
        sensor: Sensor,
        prior: ScenePrior | None,
        quality: GridQuality | None = None,
    ) -> "EvaluationSums":
        """Sums over the valid images of a batch.

        Args:
          found: the targets found, `[B, K]`.
          truth: the true targets `[B, M]`.
          valid: False for images to leave out.
          sensor: the sensor that took the images.
          prior: the prior that the Cramér–Rao bound includes, or None.
          quality: the quality of the grids; None for estimators without a grid.
        """
        pairing = assign(found, truth)
        bound = None if is_ideal(sensor) else _position_variance(truth, sensor, prior)

        def group(count: Array) -> GroupSums:
            members = valid & (truth.count == count)
            return GroupSums(
                cso=CsoSums.of(found, truth, valid=members),
                localization=LocalizationSums.of(found, truth, pairing, members),
                bound=None if bound is None else ExactSum.of(bound, where=members),
                coverage=None
                if found.credible_radius is None
                else CoverageSums.of(found, pairing, members),
            )

        return cls(
            published=CsoSums.of(replace(found, score=found.intensity), truth, valid=valid),
            by_count=jax.vmap(group)(jnp.arange(truth.mask.shape[-1] + 1)),
            reliability=None
            if found.hit_probability is None
            else ReliabilitySums.of(found, pairing, valid),
            quality=None if quality is None else QualitySums.of(quality, valid),
        )

    def value(self) -> Evaluation:
        """Computes the results from the sums."""
        published = self.published.value()
        peak_ratio, similarity = self.quality.means if self.quality else (None, None)
        total = jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), self.by_count)
        present = np.flatnonzero(self.by_count.localization.images)
        return Evaluation(
            cso_map=float(published.mean),
            ap=_by_radius(published.ap),
            reliability=None if self.reliability is None else _diagrams(self.reliability),
            by_count={
                str(count): jax.tree.map(itemgetter(count), self.by_count).value()
                for count in map(int, present)
            },
            psnr=peak_ratio,
            ssim=similarity,
            **total.value(),
        )


def _position_variance(
    truth: Targets, sensor: Sensor, prior: ScenePrior | None
) -> Float[Array, "*batch"]:
    """Returns the Cramér–Rao bound on the squared distance in px², summed over each image."""
    return jnp.einsum("...kaa->...", cramer_rao(truth, sensor, prior))


def _diagrams(sums: ReliabilitySums) -> dict[str, Reliability]:
    """Makes the reliability diagram of each radius."""
    diagrams = {}
    arrays = map(np.asarray, (sums.detections, sums.reported.total, sums.hits))
    for radius, detections, reported, hits in zip(RADII, *arrays, strict=True):
        filled = detections > 0
        diagrams[f"{radius:.2f}"] = Reliability(
            detections=detections[filled].tolist(),
            reported=(reported[filled] / detections[filled]).tolist(),
            realised=(hits[filled] / detections[filled]).tolist(),
        )
    return diagrams


def _by_radius(values: Float[Array, " R"]) -> dict[str, float]:
    return {f"{radius:.2f}": float(value) for radius, value in zip(RADII, values, strict=True)}
