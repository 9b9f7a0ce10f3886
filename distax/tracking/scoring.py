"""How well sequences are answered: frame by frame, and track by track."""

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
from distax.tracking.tracking import Tracks

TRACKED_RADIUS = RADII[-1]
"""Largest root-mean-square distance in pixels of a track from the target it is said to follow."""
_TRACKED_SHARE = 0.5
"""Least share of a target's frames that its track has."""


@dataclass(frozen=True)
class FrameScore:
    """What single frames score, whatever they were made from.

    Attributes:
      cso_map: CSO-mAP ranked by the answer's own score; a fraction, as all scores and shares here.
      ap: its average precisions by matching radius in pixels.
      count_accuracy: share of frames with the right number of targets.
    """

    cso_map: float
    ap: dict[str, float]
    count_accuracy: float


@dataclass(frozen=True)
class TrackEvaluation:
    """Results over a set of sequences.

    Attributes:
      sequences, frames: how many there are of each.
      single: frames by themselves.
      tracked: the same frames, given the tracks through all of them.
      share_tracked: share of true targets that a track follows: for at least half of their frames
        within 0.25 px (root mean square), one track for each, as assigned at the smallest sum of
        distances; None without any.
      rmse: root-mean-square distance in px of those tracks from their targets; None without any.
      median_rmse: median over those tracks of their own root-mean-square distances.
      false_tracks: tracks that follow no target, as a share of all tracks; None without any.
      switches: changes of the track that a target is nearest to, per true target. A target keeps
        its track while it lies within 0.25 px (CLEAR MOT: Bernardin & Stiefelhagen, EURASIP J.
        Image Video Process. 2008); None without any.
    """

    sequences: int
    frames: int
    single: FrameScore
    tracked: FrameScore
    share_tracked: float | None
    rmse: float | None
    median_rmse: float | None
    false_tracks: float | None
    switches: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        return asdict(self)


def assess_tracks(found: Targets, tracks: Tracks, truth: Targets) -> TrackEvaluation:
    """Hold tracks, and the detections they were made of, against the truth.

    Args:
      found: detections `[N, T, K]`.
      tracks: tracks `[N, T, M]`.
      truth: true targets `[N, T, L]`, a slot being the same target in every frame.

    Raises:
      DistaxError: there are no sequences, or not the same number of them or of frames.
    """
    shape = truth.mask.shape[:2]
    if not all(shape):
        raise DistaxError("there are no sequences to evaluate on")
    if found.mask.shape[:2] != shape or tracks.targets.mask.shape[:2] != shape:
        raise DistaxError(
            f"answers to {found.mask.shape[:2]} and {tracks.targets.mask.shape[:2]} sequences and "
            f"frames cannot be held against {shape}"
        )
    follows, error = _follow(tracks.targets, truth)
    real = jnp.any(truth.mask, axis=1)
    paired = follows >= 0
    squared = jnp.mean(error**2, where=paired)
    number, true = int(jnp.sum(tracks.exists)), int(jnp.sum(real))
    return TrackEvaluation(
        sequences=shape[0],
        frames=shape[0] * shape[1],
        single=_frame_score(found, truth),
        tracked=_frame_score(tracks.targets, truth),
        share_tracked=float(jnp.sum(paired)) / true if true else None,
        rmse=float(jnp.sqrt(squared)) if paired.any() else None,
        median_rmse=float(jnp.median(error[paired])) if paired.any() else None,
        false_tracks=1 - float(jnp.sum(paired)) / number if number else None,
        switches=float(jnp.sum(_switches(tracks.targets, truth))) / true if true else None,
    )


def _frame_score(found: Targets, truth: Targets) -> FrameScore:
    value: CsoMap = cso_map(found, truth)
    return FrameScore(
        cso_map=float(value.mean),
        ap={f"{radius:.2f}": float(ap) for radius, ap in zip(RADII, value.ap, strict=True)},
        count_accuracy=float(jnp.mean(found.count == truth.count)),
    )


@jax.jit
def _follow(tracks: Targets, truth: Targets) -> tuple[Int[Array, "N L"], Float[Array, "N L"]]:
    """The track of each true target, −1 for none, and its root-mean-square distance."""

    def one(tracks: Targets, truth: Targets) -> tuple[Array, Array]:
        both = truth.mask[:, :, None] & tracks.mask[:, None]
        squared = jnp.where(both, pair_distances(truth, tracks) ** 2, 0.0)
        together = jnp.sum(both, axis=0)
        error = jnp.sqrt(jnp.sum(squared, axis=0) / jnp.maximum(together, 1))
        lasting = together >= _TRACKED_SHARE * jnp.sum(truth.mask, axis=0)[:, None]
        near = lasting & (together > 0) & (error <= TRACKED_RADIUS)
        follows = best_partners(_in_reach(error, near))
        return follows, jnp.take_along_axis(error, follows[:, None], axis=1)[:, 0]

    return jax.vmap(one)(tracks, truth)


@jax.jit
def _switches(tracks: Targets, truth: Targets) -> Int[Array, " N"]:
    """How often a true target's track is another than the last it had, in each sequence."""

    def step(last: Int[Array, " L"], frame: tuple[Targets, Targets]) -> tuple[Array, Array]:
        tracks, truth = frame
        distance = pair_distances(truth, tracks)
        near = truth.mask[:, None] & tracks.mask & (distance <= TRACKED_RADIUS)
        kept = near & (last[:, None] == jnp.arange(near.shape[1]))
        # Whatever is kept is worth more than all that could be gained by a change.
        now = best_partners(_in_reach(distance, near) + kept * 2.0 * near.shape[0])
        switched = (now >= 0) & (last >= 0) & (now != last)
        return jnp.where(now >= 0, now, last), jnp.sum(switched)

    def one(tracks: Targets, truth: Targets) -> Int[Array, ""]:
        none = jnp.full(truth.mask.shape[-1], -1)
        return jnp.sum(jax.lax.scan(step, none, (tracks, truth))[1])

    return jax.vmap(one)(tracks, truth)


def _in_reach(
    distance: Float[Array, "L M"], near: Bool[Array | np.ndarray, "L M"]
) -> Float[Array, "L M"]:
    """What a pair is worth: as many as possible are to be made, then the nearest."""
    return jnp.where(near, 1.0 + (TRACKED_RADIUS - distance), 0.0)
