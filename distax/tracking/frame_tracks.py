"""Tracks of targets through whole frames, with the camera's shift in each frame."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from distax.frames import FrameTargets
from distax.runtime.errors import DistaxError
from distax.tracking.camera import Shifts
from distax.tracking.fragments import extend, join
from distax.tracking.frame_summary import share_trusted, stack, summarise, weights
from distax.tracking.frame_tracker import FrameTracker
from distax.tracking.gating import Detections
from distax.tracking.kalman import States
from distax.tracking.linking import link, relink
from distax.tracking.paths import Path, Sightings, estimate_paths
from distax.tracking.tracks import Tracks

_ROUNDS = 5
"""Times that tracks are smoothed, and then joined or linked anew. The first finds the shifts and
joins fragments, the next ones link without the shifts, until it settles."""
_ENOUGH = 3
"""Tracks in most frames from which the camera's shift is taken. Of two, one may turn."""
_DOUBT = 3.0
"""Standard deviations by which a track's residuals must exceed their errors to enlarge these."""


@dataclass(frozen=True)
class FrameTracks:
    """Tracks through whole frames.

    Attributes:
      tracks: `[T, M]`, in order of their first detections. Positions are those in the frames, with
        the camera's shift. Velocities are without it. The errors of a track are multiplied by
        `misfit` where that is significantly larger than 1.
      camera: the camera's shift in each frame.
      misfit: `[M]`, root-mean-square residual of a track's detections from its path in units of
        their stated errors; about 1 where both these and the motion model hold.
      trusted: `[M]`, share of a track's detections that the imaging model explains.
    """

    tracks: Tracks
    camera: Shifts
    misfit: Float[np.ndarray, " M"]
    trusted: Float[np.ndarray, " M"]


@dataclass(frozen=True)
class _Links:
    """Detections of each track, and how far its errors must be enlarged.

    Attributes:
      slot: `[T, M]`, −1 for none.
      factor: `[M]`, factor of the covariances of a track's detections.
    """

    slot: Int[np.ndarray, "T M"]
    factor: Float[np.ndarray, " M"]


def track_frames(
    found: Sequence[FrameTargets | None],
    tracker: FrameTracker = FrameTracker(),
    scene: Shifts | None = None,
) -> FrameTracks:
    """Tracks the targets of whole frames, and estimates the camera's shift in each.

    Detections are linked from frame to frame (`linking.link`), with gates that allow for the
    camera's jitter. Then all tracks are smoothed together with the shifts (`paths`), and all
    detections are linked anew to the smoothed tracks. Tracks with too few detections are dropped.

    Args:
      found: targets of each frame, as `FrameUnmixer` finds them; None for a frame that could not be
        used.
      tracker: parameters.
      scene: shifts that the scene shows, from `register_scenes`.

    Raises:
      DistaxError: there are fewer frames than a track needs detections; the frames differ in size;
        the tracker takes the shifts from the scene, and none are given.
    """
    shape = _frame_shape(found, tracker)
    detections, weight = stack(found)
    frames = len(found)
    centre = (np.array(shape) - 1) / 2
    local = replace(detections, position=detections.position - centre)
    density = tracker.new_targets / (shape[0] * shape[1])
    known, jitter = _first_guess(tracker, scene, frames)

    def confirm(links: _Links) -> _Links:
        kept = weights(links.slot, weight).sum(axis=0) >= tracker.min_detections
        return _Links(links.slot[:, kept], links.factor[kept])

    def link_anew(known: Shifts, jitter: float) -> _Links:
        slot = link(_without(local, known), tracker, density, jitter)
        return confirm(_Links(slot, np.ones(slot.shape[1])))

    links = link_anew(known, jitter)
    if tracker.camera_motion == "auto":
        per_frame = np.sum(links.slot >= 0, axis=1)
        if np.median(per_frame[per_frame > 0] if per_frame.any() else 0) >= _ENOUGH:
            known = replace(known, source="targets")
        elif scene is not None:
            known = scene
            links = link_anew(scene, 0.0)
    for turn in range(_ROUNDS):
        unknown = jitter if turn == 0 and known.source == "targets" else 0.0
        paths, camera = _estimate(local, links, known, tracker, unknown)
        joined = join(links.slot, paths, camera, tracker)
        if joined.shape != links.slot.shape:
            links = _Links(joined, np.ones(joined.shape[1]))
            continue
        links = replace(links, factor=_factors(paths, links.factor))
        links = confirm(_relink(paths, links, camera, local, tracker, density))
    paths, camera = _estimate(local, links, known, tracker, 0.0)
    enlarged = _factors(paths, links.factor) / links.factor
    return FrameTracks(
        tracks=summarise(found, paths, links.slot, centre, enlarged, camera.trend_variance),
        camera=camera,
        misfit=np.sqrt(links.factor * _reduced_squares(paths)),
        trusted=share_trusted(links.slot, weight),
    )


def _frame_shape(found: Sequence[FrameTargets | None], tracker: FrameTracker) -> tuple[int, int]:
    """Returns the size that all frames have; raises DistaxError for frames without tracks."""
    used = {number: frame for number, frame in enumerate(found) if frame is not None}
    tracker.check_length(len(found), len(used))
    shapes = {frame.background.shape: number for number, frame in reversed(used.items())}
    if len(shapes) > 1:
        (one, first), (other, second), *_ = ((f"{h}×{w}", n) for (h, w), n in shapes.items())
        raise DistaxError(
            f"frame {second} has {other} px, frame {first} has {one}; give frames of one size"
        )
    return next(iter(shapes))


def _first_guess(tracker: FrameTracker, scene: Shifts | None, frames: int) -> tuple[Shifts, float]:
    """Returns the shifts that are known before any track, and the jitter that gates allow for."""
    rest = Shifts.at_rest(frames)
    if tracker.camera_motion == "none":
        return rest, 0.0
    if tracker.camera_motion == "targets":
        return replace(rest, source="targets"), tracker.jitter
    if tracker.camera_motion == "auto":
        return rest, tracker.jitter
    if scene is None:
        raise DistaxError(
            "the camera's motion is to come from the scene, which does not show it in all frames: "
            "take it from the targets, or take none (--camera-motion)"
        )
    return scene, 0.0


def _without(detections: Detections, shifts: Shifts) -> Detections:
    """Removes the camera's known shifts from detections, and adds their errors."""
    return replace(
        detections,
        position=detections.position - shifts.shift[:, None],
        covariance=detections.covariance + shifts.covariance[:, None],
    )


def _estimate(
    detections: Detections,
    links: _Links,
    known: Shifts,
    tracker: FrameTracker,
    jitter: float,
) -> tuple[list[Path], Shifts]:
    """Smooths all tracks, with enlarged errors of their detections."""
    sightings = []
    for slots, factor in zip(links.slot.T, links.factor, strict=True):
        frame = np.flatnonzero(slots >= 0)
        position, stated = (
            np.asarray(leaf)[frame, slots[frame]]
            for leaf in (detections.position, detections.covariance)
        )
        covariance = factor * (stated + jitter**2 * np.eye(2))
        sightings.append(Sightings(frame, position, covariance))
    return estimate_paths(sightings, known, tracker.velocity_std, tracker.process_noise)


def _factors(paths: Sequence[Path], before: Float[np.ndarray, " M"]) -> Float[np.ndarray, " M"]:
    """Returns the factors of the covariances for which residuals are as large as their errors.

    Args:
      paths: smoothed tracks.
      before: factors that they were smoothed with.
    """
    ratio = _reduced_squares(paths)
    freedom = np.array([path.freedom for path in paths])
    doubtful = (before > 1) | (ratio > 1 + _DOUBT * np.sqrt(2 / freedom))
    return np.where(doubtful, np.maximum(before * ratio, 1.0), 1.0)


def _reduced_squares(paths: Sequence[Path]) -> Float[np.ndarray, " M"]:
    """Returns the mean squares of residuals in units of their errors; 1 where these are true."""
    return np.array([path.squares / path.freedom for path in paths])


def _relink(
    paths: Sequence[Path],
    links: _Links,
    camera: Shifts,
    detections: Detections,
    tracker: FrameTracker,
    density: float,
) -> _Links:
    """Links all detections anew to the smoothed tracks, also a few frames beyond their ends."""
    shape = links.slot.shape
    mean, covariance = np.zeros((*shape, 4)), np.tile(np.eye(4), (*shape, 1, 1))
    alive, within = np.zeros(shape, bool), np.zeros(shape, bool)
    for number, (path, factor) in enumerate(zip(paths, links.factor, strict=True)):
        frame, states = extend(path, camera, tracker, tracker.max_missed_detections)
        seen = links.slot[path.frame, number]
        stated = detections.covariance[path.frame, seen][seen >= 0].mean(axis=0)
        mean[frame, number], covariance[frame, number] = states.mean, states.covariance
        covariance[frame, number, :2, :2] += (factor - 1) * stated
        alive[frame, number], within[path.frame, number] = True, True
    states = States(mean=mean, covariance=covariance)
    return replace(links, slot=relink(states, alive, within, detections, tracker, density))
