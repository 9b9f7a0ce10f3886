"""Scores of tracked sequences, frame by frame and track by track."""

from dataclasses import asdict, dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from distax.imaging.targets import Targets
from distax.metrics import RADII, CsoMap, cso_map
from distax.metrics.matching import best_partners, pair_distances
from distax.runtime.errors import DistaxError
from distax.tracking.tracks import Tracks

TRACKED_RADIUS = RADII[-1]
"""Largest root-mean-square distance in pixels between a target and the track that follows it."""
_TRACKED_SHARE = 0.5
"""Least share of a target's frames in which the track that follows it exists."""


@dataclass(frozen=True)
class FrameScore:
    """Scores of single frames, of detections and of tracks alike.

    Attributes:
      cso_map: CSO-mAP ranked by the estimator's own score, from 0 to 1 like all scores here.
      ap: average precision by matching radius in pixels.
      count_accuracy: share of frames with the right number of targets.
    """

    cso_map: float
    ap: dict[str, float]
    count_accuracy: float


@dataclass(frozen=True)
class TrackEvaluation:
    """Scores of tracks over a set of sequences.

    Attributes:
      sequences, frames: their numbers.
      single: scores of the detections, each frame by itself.
      tracked: scores of the tracks in the same frames.
      share_tracked: share of true targets that a track follows; None without true targets. A track
        follows a target if both exist in at least half of the target's frames and lie within
        0.25 px there (root mean square). Tracks are assigned to targets one to one, at the
        smallest sum of distances.
      share_whole: share of true targets whose track exists in every frame that the target is in;
        None without true targets.
      rmse: root-mean-square distance in pixels of those tracks from their targets; None if no
        target is followed.
      median_rmse: median over those tracks of their root-mean-square distance in pixels.
      false_tracks: share of tracks that follow no target; None without tracks.
      identity_switches: changes of the track assigned to a target, per true target; None without
        true targets. A target keeps its track while that lies within 0.25 px (CLEAR MOT:
        Bernardin & Stiefelhagen, EURASIP J. Image Video Process. 2008).
    """

    sequences: int
    frames: int
    single: FrameScore
    tracked: FrameScore
    share_tracked: float | None
    share_whole: float | None
    rmse: float | None
    median_rmse: float | None
    false_tracks: float | None
    identity_switches: float | None

    def to_dict(self) -> dict[str, Any]:
        """Returns plain numbers, for JSON."""
        return asdict(self)


def assess_tracks(found: Targets, tracks: Tracks, truth: Targets) -> TrackEvaluation:
    """Scores tracks and their detections against the truth.

    Args:
      found: detections `[N, T, K]`.
      tracks: tracks `[N, T, M]`.
      truth: true targets `[N, T, L]`; a slot is the same target in every frame.

    Raises:
      DistaxError: there are no sequences, or the numbers of sequences or frames differ.
    """
    shape = truth.mask.shape[:2]
    if not all(shape):
        raise DistaxError("there are no sequences to evaluate on")
    if found.mask.shape[:2] != shape or tracks.targets.mask.shape[:2] != shape:
        raise DistaxError(
            f"answers to {found.mask.shape[:2]} and {tracks.targets.mask.shape[:2]} sequences and "
            f"frames cannot be scored against {shape}; give all three for the same sequences"
        )
    follows, error, whole = _assign_tracks(tracks.targets, truth)
    paired = follows >= 0
    squared = jnp.mean(error**2, where=paired)
    number = int(jnp.sum(tracks.exists))
    true = int(jnp.sum(jnp.any(truth.mask, axis=1)))
    return TrackEvaluation(
        sequences=shape[0],
        frames=shape[0] * shape[1],
        single=_frame_score(found, truth),
        tracked=_frame_score(tracks.targets, truth),
        share_tracked=float(jnp.sum(paired)) / true if true else None,
        share_whole=float(jnp.sum(paired & whole)) / true if true else None,
        rmse=float(jnp.sqrt(squared)) if paired.any() else None,
        median_rmse=float(jnp.median(error[paired])) if paired.any() else None,
        false_tracks=1 - float(jnp.sum(paired)) / number if number else None,
        identity_switches=(
            float(jnp.sum(_identity_switches(tracks.targets, truth))) / true if true else None
        ),
    )


def _frame_score(found: Targets, truth: Targets) -> FrameScore:
    value: CsoMap = cso_map(found, truth)
    return FrameScore(
        cso_map=float(value.mean),
        ap={f"{radius:.2f}": float(ap) for radius, ap in zip(RADII, value.ap, strict=True)},
        count_accuracy=float(jnp.mean(found.count == truth.count)),
    )


@jax.jit
def _assign_tracks(
    tracks: Targets, truth: Targets
) -> tuple[Int[Array, "N L"], Float[Array, "N L"], Bool[Array, "N L"]]:
    """Assigns a track to each true target.

    Returns:
      The track, −1 for none, its root-mean-square distance, and True if it exists in all frames of
      the target.
    """

    def assign_sequence(tracks: Targets, truth: Targets) -> tuple[Array, Array, Array]:
        both = truth.mask[:, :, None] & tracks.mask[:, None]
        squared = jnp.where(both, pair_distances(truth, tracks) ** 2, 0.0)
        shared = jnp.sum(both, axis=0)
        error = jnp.sqrt(jnp.sum(squared, axis=0) / jnp.maximum(shared, 1))
        lasting = shared >= _TRACKED_SHARE * jnp.sum(truth.mask, axis=0)[:, None]
        near = lasting & (shared > 0) & (error <= TRACKED_RADIUS)
        follows = best_partners(_pair_benefit(error, near))
        own, common = (
            jnp.take_along_axis(pairs, follows[:, None], axis=1)[:, 0] for pairs in (error, shared)
        )
        return follows, own, common == jnp.sum(truth.mask, axis=0)

    return jax.vmap(assign_sequence)(tracks, truth)


@jax.jit
def _identity_switches(tracks: Targets, truth: Targets) -> Int[Array, " N"]:
    """Counts the identity switches of each sequence, as CLEAR MOT defines them."""

    def step(last: Int[Array, " L"], frame: tuple[Targets, Targets]) -> tuple[Array, Array]:
        tracks, truth = frame
        distance = pair_distances(truth, tracks)
        near = truth.mask[:, None] & tracks.mask & (distance <= TRACKED_RADIUS)
        kept = near & (last[:, None] == jnp.arange(near.shape[1]))
        # Keeping one pair outweighs any gain from changing all other pairs.
        now = best_partners(_pair_benefit(distance, near) + kept * 2.0 * near.shape[0])
        switched = (now >= 0) & (last >= 0) & (now != last)
        return jnp.where(now >= 0, now, last), jnp.sum(switched)

    def count_sequence(tracks: Targets, truth: Targets) -> Int[Array, ""]:
        none = jnp.full(truth.mask.shape[-1], -1)
        return jnp.sum(jax.lax.scan(step, none, (tracks, truth))[1])

    return jax.vmap(count_sequence)(tracks, truth)


def _pair_benefit(
    distance: Float[Array, "L M"], near: Bool[Array | np.ndarray, "L M"]
) -> Float[Array, "L M"]:
    """Returns each pair's benefit: its sum is largest for the most pairs, then the nearest."""
    return jnp.where(near, 1.0 + (TRACKED_RADIUS - distance), 0.0)
