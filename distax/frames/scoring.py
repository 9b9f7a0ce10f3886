"""Evaluation of unmixed frames against their true targets."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import jax
import numpy as np

from distax.frames.simulation import FrameTruth
from distax.frames.targets import FrameTargets
from distax.imaging.targets import Targets
from distax.metrics import RADII, cso_map
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
    """

    frames: int
    targets: int
    cso_map: float
    ap: dict[str, float]
    blob_recall: float
    recall: dict[str, float]
    false_blobs: float
    right_count: float | None

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
    counts = [_count(*pair) for pair in zip(found, truth, strict=True)]
    groups, seen, right, false = np.sum([count.blobs for count in counts], axis=0)
    distance = np.concatenate([count.distance for count in counts])
    score = cso_map(
        _stack_padded([frame.targets for frame in found]),
        _stack_padded([frame.targets for frame in truth]),
    )
    return FrameEvaluation(
        frames=len(truth),
        targets=len(distance),
        cso_map=float(score.mean),
        ap={f"{radius:.2f}": float(ap) for radius, ap in zip(RADII, score.ap, strict=True)},
        blob_recall=float(seen / groups),
        recall={f"{radius:.2f}": float(np.mean(distance <= radius)) for radius in RADII},
        false_blobs=float(false / len(truth)),
        right_count=float(right / seen) if seen else None,
    )


@dataclass(frozen=True)
class _Counts:
    """Counts of one frame.

    Attributes:
      blobs: number of true groups, of groups with a blob, of those with the right number of
        targets, and of false blobs.
      distance: distance in pixels from each true target to the nearest found one.
    """

    blobs: tuple[int, int, int, int]
    distance: np.ndarray


def _count(found: FrameTargets, truth: FrameTruth) -> _Counts:
    from scipy.spatial import cKDTree

    position, pixel = truth.targets.position, found.blobs.pixel
    groups = int(truth.group.max()) + 1 if len(truth.group) else 0
    if not len(pixel) or not groups:
        return _Counts(blobs=(groups, 0, 0, len(pixel)), distance=np.full(len(position), np.inf))
    true, blobs = cKDTree(position), cKDTree(pixel)
    false = int(np.sum(true.query(pixel)[0] > _NEAR))
    weight = np.bincount(truth.group)
    centre = [np.bincount(truth.group, axis) / weight for axis in position.T]
    away, nearest = blobs.query(np.stack(centre, axis=1))
    members = np.bincount(found.blob, minlength=len(pixel))[nearest]
    seen = away <= _NEAR
    distance = np.full(len(position), np.inf)
    if len(found.blob):
        distance = cKDTree(found.targets.position).query(position)[0]
    return _Counts(
        blobs=(groups, int(seen.sum()), int(np.sum(seen & (members == weight))), false),
        distance=distance,
    )


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
