"""Scores of tracked sequences, frame by frame and track by track."""

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from distax.evaluation.image_sums import ImageSums
from distax.imaging.targets import Targets, check_known_places, check_shapes
from distax.metrics import (
    GROUPS,
    CsoSums,
    RateResult,
    assign,
    by_radius,
    cso_map,
    draw_groups,
    sum_by_part,
    with_intervals,
)
from distax.runtime.batching import join_batches
from distax.runtime.errors import DistaxError
from distax.tracking.following import TrackSums, sum_tracks
from distax.tracking.tracks import Tracks

_COARSE = 5
"""Logarithm to base 2 of the number of score bins in an octave, in the groups for intervals."""


@dataclass(frozen=True)
class FrameScore:
    """Scores of single frames, of detections and of tracks alike.

    Attributes:
      cso_map: CSO-mAP ranked by the estimator's own score, from 0 to 1 like all scores here.
      ap: average precision by matching radius in pixels.
      count_accuracy: share of frames with the right number of targets.
      rates: by matching radius, precision, recall and errors of pairs one to one. An image is a
        frame here.
      gospa: mean distance in pixels of the found from the true targets of a frame, see
        `metrics.gospa`.
    """

    cso_map: float
    ap: dict[str, float]
    count_accuracy: float
    rates: dict[str, RateResult]
    gospa: float


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
      mota: MOTA of CLEAR MOT, see `metrics.IdentitySums`; None without true targets.
      idf1: IDF1, with one track for each target in the whole sequence. Like HOTA and its first part
        it is None where there are neither targets nor tracks.
      hota: HOTA, from a similarity that falls from 1 to 0 over 0.5 px.
      detection_accuracy, association_accuracy: the two parts of HOTA, means over its thresholds.
      intervals: 95% confidence intervals of all scores but the median, by bootstrap over the
        sequences: lower and upper ends at the places of the scores; None for a single sequence.
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
    mota: float | None
    idf1: float | None
    hota: float | None
    detection_accuracy: float | None
    association_accuracy: float | None
    intervals: dict[str, Any] | None

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
      DistaxError: there are no sequences, or the numbers of sequences or frames differ; arrays do
        not fit one another; a true position is not finite.
    """
    check_shapes(found=found, tracks=tracks.targets, truth=truth)
    check_known_places(truth)
    shape = truth.mask.shape[:2]
    if not all(shape):
        raise DistaxError("there are no sequences to evaluate on")
    if found.mask.shape[:2] != shape or tracks.targets.mask.shape[:2] != shape:
        raise DistaxError(
            f"answers to {found.mask.shape[:2]} and {tracks.targets.mask.shape[:2]} sequences and "
            f"frames cannot be scored against {shape}; give all three for the same sequences"
        )
    number = jnp.arange(shape[0]) % GROUPS
    draws = draw_groups(shape[0])
    sums, error, followed = sum_tracks(tracks.targets, truth)
    scores, intervals = with_intervals(
        TrackSums.scores, sum_by_part(sums, number, GROUPS), draws, exact={}
    )
    single, intervals["single"] = _score_frames(found, truth, draws)
    tracked, intervals["tracked"] = _score_frames(tracks.targets, truth, draws)
    return TrackEvaluation(
        sequences=shape[0],
        frames=shape[0] * shape[1],
        single=FrameScore(**single),
        tracked=FrameScore(**tracked),
        median_rmse=float(jnp.median(error[followed])) if followed.any() else None,
        intervals=intervals if shape[0] > 1 else None,
        **scores,
    )


def _score_frames(
    found: Targets, truth: Targets, draws: Float[np.ndarray, "draws groups"]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Computes the scores of a `FrameScore` and their intervals, by draws of sequences."""
    exact = cso_map(found, truth)
    groups = _sum_frames(found, truth)
    groups = groups[0].without_empty_bins(), groups[1]
    return with_intervals(
        _frame_scores, groups, draws, exact={"cso_map": exact.mean, "ap": by_radius(exact.ap)}
    )


@jax.jit
def _sum_frames(found: Targets, truth: Targets) -> tuple[CsoSums, ImageSums]:
    """Computes the sums of single frames, in groups of sequences."""
    sequences, frames = truth.mask.shape[:2]
    number = jnp.repeat(jnp.arange(sequences) % GROUPS, frames)
    found, true = join_batches((found, truth))
    images = jax.vmap(partial(ImageSums.of, bound=None))(found, true, assign(found, true))
    return (
        CsoSums.by_part(found, true, number, GROUPS, mantissa_bits=_COARSE),
        sum_by_part(images, number, GROUPS),
    )


def _frame_scores(sums: tuple[CsoSums, ImageSums]) -> dict[str, Any]:
    value, scores = sums[0].value(), sums[1].scores()
    ranked = {"cso_map": value.mean, "ap": by_radius(value.ap)}
    return ranked | {name: scores[name] for name in ("count_accuracy", "rates", "gospa")}
