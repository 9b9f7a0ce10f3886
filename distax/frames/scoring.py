"""How well whole frames are unmixed."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import jax
import numpy as np

from distax.frames.simulation import FrameTruth
from distax.frames.targets import FrameTargets
from distax.imaging.targets import Targets
from distax.metrics import RADII, cso_map
from distax.runtime.errors import DistaxError

_NEAR = 3.0
"""Pixels from a blob to the nearest true target within which it shows something that is there."""
_SLOTS = 256
"""Targets of a frame are padded to a multiple of this, so that one program counts them."""


@dataclass(frozen=True)
class FrameEvaluation:
    """Results over frames, as plain numbers.

    Attributes:
      frames: number of frames.
      targets: true targets in them.
      cso_map: mean of the average precisions over all frames, ranked by the method's score; a
        fraction, as all scores and shares here. The targets of a frame are matched as those of an
        image are.
      ap: those average precisions by matching radius in pixels.
      blob_recall: share of the true clusters and stars with a blob within three pixels.
      recall: share of the true targets with a found one within each matching radius.
      false_blobs: blobs a frame, on average, without a true target within three pixels.
      right_count: share of the true clusters and stars that were found and whose nearest blob has
        as many targets; None where none were found.
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
        """Plain numbers, for JSON."""
        return asdict(self)


def assess_frames(found: Sequence[FrameTargets], truth: Sequence[FrameTruth]) -> FrameEvaluation:
    """Hold what was found in frames against the truth.

    Raises:
      DistaxError: no frames, not as many answers, or nothing in the frames to be found.
    """
    if not truth or len(found) != len(truth):
        raise DistaxError(f"{len(found)} answers cannot be held against {len(truth)} frames")
    if not any(len(frame.group) for frame in truth):
        raise DistaxError("the frames hold no targets to be found")
    counts = [_count(*pair) for pair in zip(found, truth, strict=True)]
    groups, seen, right, false = np.sum([count.blobs for count in counts], axis=0)
    distance = np.concatenate([count.distance for count in counts])
    score = cso_map(
        _stacked([frame.targets for frame in found]), _stacked([frame.targets for frame in truth])
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
    """Of one frame: true groups, those with a blob, with the right count, false blobs; and how far
    the nearest found target is from each true one.
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


def _stacked(frames: Sequence[Targets]) -> Targets:
    """Frames' targets with padding to one number, `[F, K]`."""
    most = max(len(targets.mask) for targets in frames)
    slots = max(1, -(-most // _SLOTS)) * _SLOTS

    def padded(targets: Targets) -> Targets:
        known = Targets(
            position=np.asarray(targets.position, np.float32),
            intensity=np.asarray(targets.intensity, np.float32),
            mask=np.asarray(targets.mask),
            score=np.asarray(targets.score, np.float32),
        )
        return jax.tree.map(
            lambda leaf: np.pad(leaf, [(0, slots - len(leaf))] + [(0, 0)] * (leaf.ndim - 1)),
            known,
        )

    return jax.tree.map(lambda *leaves: np.stack(leaves), *map(padded, frames))
