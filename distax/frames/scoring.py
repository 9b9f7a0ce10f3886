"""Evaluation of unmixed frames against their true targets."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from distax.frames.frame_sums import FrameCounts, FrameSums
from distax.frames.simulation import FrameTruth
from distax.frames.targets import FrameTargets
from distax.imaging.targets import Targets
from distax.metrics import (
    GROUPS,
    RADII,
    RateResult,
    by_radius,
    cso_map,
    draw_groups,
    pair_near,
    sum_by_part,
    with_intervals,
)
from distax.runtime.batching import pad_rows
from distax.runtime.errors import DistaxError

_NEAR = 3.0
"""Distance in pixels from a true target up to which a blob counts as true. It exceeds the extent of
the default clusters; a larger one would match blobs to unrelated targets."""
_SLOTS = 256
"""Multiple to which a frame's targets are padded, so that few programs are compiled. A larger one
wastes time on padding."""


@dataclass(frozen=True)
class FrameEvaluation:
    """Scores over frames, as plain numbers; shares are fractions from 0 to 1.

    Attributes:
      frames: number of frames.
      targets: number of true targets in all frames.
      cso_map: mean over the matching radii of the average precision, ranked by the method's score.
        Targets are matched frame by frame, as in images.
      ap: average precision by matching radius in pixels.
      blob_recall: share of the true clusters and stars with a blob within three pixels.
      recall: share of the true targets with a found target within each matching radius in pixels.
      false_blobs: mean number, per frame, of blobs without a true target within three pixels.
      right_count: share of the found clusters and stars whose nearest blob has the true number of
        targets; None if none was found.
      pd: share of the true targets with a partner among the found ones less than three pixels away,
        one to one: the detection rate Pd of infrared target detection.
      fa: found targets without a partner per pixel: the false-alarm rate Fa, of points.
      rates: by matching radius, precision, recall and errors of pairs one to one. An image is a
        frame here.
      gospa: mean distance in pixels of the found from the true targets of a frame, see
        `metrics.gospa`.
      intervals: 95% confidence intervals of all scores, by bootstrap over the frames: lower and
        upper ends at the places of the scores; None for a single frame.
    """

    frames: int
    targets: int
    cso_map: float
    ap: dict[str, float]
    blob_recall: float
    recall: dict[str, float]
    false_blobs: float
    right_count: float | None
    pd: float
    fa: float
    rates: dict[str, RateResult]
    gospa: float
    intervals: dict[str, Any] | None

    def to_dict(self) -> dict[str, Any]:
        """Returns the scores as plain numbers, for JSON."""
        return asdict(self)


def assess_frames(found: Sequence[FrameTargets], truth: Sequence[FrameTruth]) -> FrameEvaluation:
    """Scores the targets found in frames against the truth.

    Args:
      found: results, one a frame.
      truth: true targets of the same frames.

    Raises:
      DistaxError: there are no frames, another number of results, or no true targets.
    """
    if not truth or len(found) != len(truth):
        raise DistaxError(f"{len(found)} results cannot be scored against {len(truth)} frames")
    if not any(len(frame.group) for frame in truth):
        raise DistaxError("the frames hold no true targets to score against")
    pair = (
        _stack_padded([frame.targets for frame in found]),
        _stack_padded([frame.targets for frame in truth]),
    )
    counts = [_count(*frames) for frames in zip(found, truth, strict=True)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *counts)
    number = jnp.arange(len(truth))
    sums = sum_by_part(FrameSums.of(*pair, stacked), number % GROUPS, GROUPS)
    exact = cso_map(*pair)
    scores, intervals = with_intervals(
        FrameSums.scores,
        replace(sums, ranked=sums.ranked.without_empty_bins()),
        draw_groups(len(truth)),
        exact={"cso_map": exact.mean, "ap": by_radius(exact.ap)},
    )
    return FrameEvaluation(
        frames=len(truth),
        targets=sum(len(frame.group) for frame in truth),
        intervals=intervals if len(truth) > 1 else None,
        **scores,
    )


def _count(found: FrameTargets, truth: FrameTruth) -> FrameCounts:
    """Counts what needs the blobs of one frame, or its size."""
    from scipy.spatial import cKDTree

    position, pixel = truth.targets.position, found.blobs.pixel
    groups = int(truth.group.max()) + 1 if len(truth.group) else 0
    detected = int(np.sum(pair_near(np.asarray(found.targets.position), np.asarray(position)) >= 0))
    pixels = float(np.prod(found.background.shape))
    known = {"groups": groups, "detected": detected, "pixels": pixels}
    counts = {"seen": 0, "right": 0, "false_blobs": len(pixel), "near": np.zeros(len(RADII), int)}
    if len(pixel) and groups:
        true, blobs = cKDTree(position), cKDTree(pixel)
        weight = np.bincount(truth.group)
        centre = [np.bincount(truth.group, axis) / weight for axis in position.T]
        away, nearest = blobs.query(np.stack(centre, axis=1))
        members = np.bincount(found.blob, minlength=len(pixel))[nearest]
        seen = away <= _NEAR
        counts["false_blobs"] = int(np.sum(true.query(pixel)[0] > _NEAR))
        counts |= {"seen": int(seen.sum()), "right": int(np.sum(seen & (members == weight)))}
        if len(found.blob):
            distance = cKDTree(found.targets.position).query(position)[0]
            counts["near"] = np.sum(distance[:, None] <= np.array(RADII), axis=0)
    return FrameCounts(**jax.tree.map(jnp.asarray, known | counts))


def _stack_padded(frames: Sequence[Targets]) -> Targets:
    """Stacks the targets of frames, padded to one number, as `[F, K]`."""
    most = max(len(targets.mask) for targets in frames)
    slots = max(1, -(-most // _SLOTS)) * _SLOTS

    def padded(targets: Targets) -> Targets:
        known = Targets(
            position=np.asarray(targets.position, np.float32),
            intensity=np.asarray(targets.intensity, np.float32),
            mask=np.asarray(targets.mask),
            score=np.asarray(targets.score, np.float32),
        )
        return pad_rows(known, slots)

    return jax.tree.map(lambda *leaves: np.stack(leaves), *map(padded, frames))
