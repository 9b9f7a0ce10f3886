"""Everything an evaluation adds up: pytrees whose sum over batches or devices is their merge."""

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
      cso: detections ranked by their score.
      localization: counts and position errors.
      bound: sum over the images of the smallest variance of their targets' positions in px²; None
        for a sensor that has no bound.
      coverage: credible regions; None where none are reported.
    """

    cso: CsoSums
    localization: LocalizationSums
    bound: ExactSum | None
    coverage: CoverageSums | None

    def value(self) -> GroupResult:
        """Results of all that was summed."""
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
    """Sums of the quality of grids."""

    grids: Int[Array, ""]
    psnr: ExactSum
    ssim: ExactSum

    @classmethod
    def of(cls, quality: GridQuality, valid: Bool[Array, " B"]) -> "QualitySums":
        """Sums over the valid ones of a batch."""
        return cls(
            grids=jnp.sum(valid),
            psnr=ExactSum.of(quality.psnr, where=valid),
            ssim=ExactSum.of(quality.ssim, where=valid),
        )

    @property
    def means(self) -> tuple[float, float]:
        """Mean PSNR and mean SSIM."""
        return float(self.psnr.total / self.grids), float(self.ssim.total / self.grids)


@pytree
class EvaluationSums:
    """The sums of an evaluation, the same size however many images there are.

    Attributes:
      published: detections ranked by intensity.
      by_count: the others for each number of true targets, on a leading axis.
      reliability: hit probabilities; None where none are reported.
      quality: of the grids; None for what answers off the grid.
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
        """Sums over the valid ones of a batch of images, `[B, K]` against `[B, M]`."""
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
        """Results of all that was summed."""
        published = self.published.value()
        peak_ratio, similarity = self.quality.means if self.quality else (None, None)
        whole = jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), self.by_count)
        present = np.flatnonzero(self.by_count.localization.images)
        return Evaluation(
            cso_map=float(published.mean),
            ap=_by_radius(published.ap),
            reliability=None if self.reliability is None else _curves(self.reliability),
            by_count={
                str(count): jax.tree.map(itemgetter(count), self.by_count).value()
                for count in map(int, present)
            },
            psnr=peak_ratio,
            ssim=similarity,
            **whole.value(),
        )


def _position_variance(
    truth: Targets, sensor: Sensor, prior: ScenePrior | None
) -> Float[Array, "*batch"]:
    """Sum over each image's targets of the bound of the squared distance in px²."""
    return jnp.einsum("...kaa->...", cramer_rao(truth, sensor, prior))


def _curves(sums: ReliabilitySums) -> dict[str, Reliability]:
    """Reliability by radius."""
    curves = {}
    arrays = map(np.asarray, (sums.detections, sums.reported.total, sums.hits))
    for radius, detections, reported, hits in zip(RADII, *arrays, strict=True):
        some = detections > 0
        curves[f"{radius:.2f}"] = Reliability(
            detections=detections[some].tolist(),
            reported=(reported[some] / detections[some]).tolist(),
            realised=(hits[some] / detections[some]).tolist(),
        )
    return curves


def _by_radius(values: Float[Array, " R"]) -> dict[str, float]:
    return {f"{radius:.2f}": float(value) for radius, value in zip(RADII, values, strict=True)}
