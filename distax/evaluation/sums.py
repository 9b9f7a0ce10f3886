"""Sums of an evaluation: pytrees that are merged over batches and devices by adding them."""

from dataclasses import replace
from operator import itemgetter
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from distax.evaluation.image_sums import GridQuality, ImageSums, QualitySums
from distax.evaluation.results import Evaluation, GroupResult, Reliability
from distax.imaging.scenes import ScenePrior
from distax.imaging.sensor import Sensor
from distax.imaging.targets import Targets
from distax.metrics import (
    GROUPS,
    RADII,
    CsoSums,
    ReliabilitySums,
    assign,
    by_radius,
    cramer_rao,
    draw_groups,
    is_ideal,
    sum_by_part,
    with_intervals,
)
from distax.runtime.pytree import pytree

_COARSE = 5
"""Logarithm to base 2 of the number of score bins in an octave, in the groups for intervals. More
bins take more memory: each group has its own."""


@pytree
class EvaluationSums:
    """The sums of an evaluation. Their size does not depend on the number of images.

    For intervals the images are divided into groups, see `metrics.bootstrap`. CSO-mAP has sums of
    all images besides, in finer bins of the score.

    Attributes:
      published: sums for CSO-mAP with detections ranked by intensity, as published.
      ranked: `[counts]`, those with detections ranked by their score, for each number of true
        targets. The numbers of targets add up to all images.
      published_groups: `[groups]`, sums of each group of images, with detections ranked by
        intensity.
      ranked_groups: `[counts, groups]`, those with detections ranked by their score.
      images: `[counts, groups]`, sums that need no ranking.
      reliability: `[groups]`, sums for the reliability of hit probabilities; None if none are
        reported.
      quality: `[groups]`, sums of the quality of grids; None without grids.
    """

    published: CsoSums
    ranked: CsoSums
    published_groups: CsoSums
    ranked_groups: CsoSums
    images: ImageSums
    reliability: ReliabilitySums | None
    quality: QualitySums | None

    @classmethod
    def of(
        cls,
        found: Targets,
        truth: Targets,
        index: Int[Array, " B"],
        sensor: Sensor,
        prior: ScenePrior | None,
        quality: GridQuality | None = None,
    ) -> "EvaluationSums":
        """Sums over the images of a batch.

        Args:
          found: the targets found, `[B, K]`.
          truth: the true targets `[B, M]`.
          index: number of each image among all images; −1 for images to leave out.
          sensor: the sensor that took the images.
          prior: the prior that the Cramér–Rao bound includes, or None.
          quality: the quality of the grids; None for estimators without a grid.
        """
        pairing = assign(found, truth)
        bound = None if is_ideal(sensor) else _position_variance(truth, sensor, prior)
        by_intensity = replace(found, score=found.intensity)
        counts, valid = truth.mask.shape[-1] + 1, index >= 0
        group = jnp.where(valid, index % GROUPS, -1)
        count = jnp.where(valid, truth.count, -1)
        cell = jnp.where(valid, truth.count * GROUPS + index % GROUPS, -1)

        def by_cell(tree: Any) -> Any:
            return jax.tree.map(lambda leaf: leaf.reshape(counts, GROUPS, *leaf.shape[1:]), tree)

        images = jax.vmap(ImageSums.of)(found, truth, pairing, bound)
        reliable = found.hit_probability is not None
        return cls(
            published=CsoSums.of(by_intensity, truth, valid=valid),
            ranked=CsoSums.by_part(found, truth, count, counts),
            published_groups=CsoSums.by_part(
                by_intensity, truth, group, GROUPS, mantissa_bits=_COARSE
            ),
            ranked_groups=by_cell(
                CsoSums.by_part(found, truth, cell, counts * GROUPS, mantissa_bits=_COARSE)
            ),
            images=by_cell(sum_by_part(images, cell, counts * GROUPS)),
            reliability=sum_by_part(jax.vmap(ReliabilitySums.of)(found, pairing), group, GROUPS)
            if reliable
            else None,
            quality=sum_by_part(jax.vmap(QualitySums.of)(quality), group, GROUPS)
            if quality
            else None,
        )

    def value(self, independent: int | None = None) -> Evaluation:
        """Computes the results from the sums, with the intervals of all scores.

        Args:
          independent: number of independent items, by which images are numbered, such as the
            sequences that they are frames of. Default: the number of images.
        """
        members = np.asarray(self.images.localization.images).sum(axis=1)
        images = int(members.sum())
        independent = images if independent is None else independent
        draws = draw_groups(independent)
        # Sums for each number of true targets: of all images, and of groups.
        ranked = self.ranked, self.ranked_groups.without_empty_bins(), self.images
        by_count, ends_by_count = {}, {}
        for count in np.flatnonzero(members).tolist():
            key, parts = str(count), jax.tree.map(itemgetter(count), ranked)
            scores, ends_by_count[key] = _score_group(parts, draws)
            by_count[key] = cast(GroupResult, scores | {"images": int(members[count])})
        scores, ends = _score_group(jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), ranked), draws)
        other = self.published_groups.without_empty_bins(), self.reliability, self.quality
        more, more_ends = with_intervals(
            _score_other, other, draws, exact=_score_published(self.published)
        )
        intervals = ends | more_ends | {"by_count": ends_by_count}
        diagrams = None if self.reliability is None else _diagrams(self.reliability)
        return Evaluation(
            images=images,
            by_count=by_count,
            intervals=intervals if independent > 1 else None,
            **scores | more | {"reliability": diagrams},
        )


def _score_group(
    parts: tuple[CsoSums, CsoSums, ImageSums], draws: Float[np.ndarray, "draws groups"]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Computes the scores of a `GroupResult` and their intervals."""
    ranked, *groups = parts
    return with_intervals(_score_images, groups, draws, exact=_score_ranked(ranked))


def _score_images(sums: list[Any]) -> dict[str, Any]:
    ranked, images = sums
    return _score_ranked(ranked) | images.scores()


def _score_ranked(sums: CsoSums) -> dict[str, Any]:
    value = sums.value()
    return {"cso_map_by_score": value.mean, "ap_by_score": by_radius(value.ap)}


def _score_published(sums: CsoSums) -> dict[str, Any]:
    value = sums.value()
    return {"cso_map": value.mean, "ap": by_radius(value.ap)}


def _score_other(
    sums: tuple[CsoSums, ReliabilitySums | None, QualitySums | None],
) -> dict[str, Any]:
    """Computes the scores that only all images together have."""
    published, reliability, quality = sums
    return {
        **_score_published(published),
        "reliability": None
        if reliability is None
        else by_radius({"reported": reliability.mean, "realised": reliability.hit_rate}),
        "psnr": None if quality is None else quality.psnr.mean,
        "ssim": None if quality is None else quality.ssim.mean,
    }


def _position_variance(
    truth: Targets, sensor: Sensor, prior: ScenePrior | None
) -> Float[Array, "*batch"]:
    """Returns the Cramér–Rao bound on the squared distance in px², summed over each image."""
    return jnp.einsum("...kaa->...", cramer_rao(truth, sensor, prior))


def _diagrams(groups: ReliabilitySums) -> dict[str, Reliability]:
    """Makes the reliability diagram of each radius."""
    sums = jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), groups)
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
