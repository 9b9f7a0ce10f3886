"""Fragments of tracks: paths beyond their detections, and paths that are parts of one track.

A false or blended detection can end a track, so that its target starts another. Once the paths are
smooth and the camera's shifts are known, the fragments fit together.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from distax.tracking.camera import Shifts
from distax.tracking.frame_tracker import FrameTracker
from distax.tracking.kalman import States
from distax.tracking.linking import pair
from distax.tracking.paths import Path


def extend(
    path: Path, shifts: Shifts, tracker: FrameTracker, margin: int
) -> tuple[Int[np.ndarray, " N"], States]:
    """Extends a path at both ends along its velocities there.

    Args:
      path: the path.
      shifts: the camera's shifts.
      tracker: parameters, for the changes of the velocity.
      margin: frames at either end, fewer at the ends of the sequence.

    Returns:
      Frames, and the states in them.
    """
    first, last = path.frame[0], path.frame[-1]
    frame = np.arange(max(first - margin, 0), min(last + margin + 1, len(shifts.shift)))
    nearest = np.clip(frame, first, last)
    step = frame - nearest
    mean = path.states.mean[nearest - first]
    away = step[:, None] * mean[:, 2:] + shifts.shift[frame] - shifts.shift[nearest]
    move = np.eye(4) + step[:, None, None] * np.eye(4, k=2)
    covariance = move @ path.states.covariance[nearest - first] @ np.swapaxes(move, 1, 2)
    beyond = np.abs(step)[:, None, None]
    turn = tracker.process_noise**2 * np.eye(2)
    covariance[:, :2, :2] += beyond**3 * turn + (beyond > 0) * shifts.covariance[frame]
    covariance[:, 2:, 2:] += beyond * turn
    return frame, States(mean=mean + np.pad(away, ((0, 0), (0, 2))), covariance=covariance)


def join(
    slot: Int[np.ndarray, "T M"], paths: Sequence[Path], shifts: Shifts, tracker: FrameTracker
) -> Int[np.ndarray, "T N"]:
    """Joins tracks of which one goes on as the other, by position and velocity.

    The second starts after the first, at most as many frames after its end as a track survives
    without detections. It may start before that end, by as many frames.

    Args:
      slot: detection of each track in each frame, −1 for none.
      paths: smoothed tracks.
      shifts: the camera's shifts.
      tracker: parameters.

    Returns:
      Detections of the tracks that are left, in the order of their first parts.
    """
    from scipy.stats import chi2

    reach = tracker.max_missed_detections + 1
    first = np.array([path.frame[0] for path in paths])
    last = np.array([path.frame[-1] for path in paths])
    between = first - last[:, None]
    follows = (np.abs(between) <= reach) & (first > first[:, None]) & (last > last[:, None])
    gate = float(chi2.ppf(tracker.gate_probability, 4))
    benefit = np.zeros(follows.shape)
    for one, other in np.argwhere(follows):
        frame, states = extend(paths[one], shifts, tracker, reach)
        at = first[other] - frame[0]
        begin = paths[other].states
        away = states.mean[at] - begin.mean[0]
        spread = states.covariance[at] + begin.covariance[0]
        benefit[one, other] = gate - away @ np.linalg.solve(spread, away)
    head = np.arange(len(paths))
    joined = slot.copy()
    successor = pair(benefit)
    for one in np.argsort(first, kind="stable"):
        if (other := successor[one]) >= 0:
            own = joined[:, head[one]]
            joined[:, head[one]] = np.where(own >= 0, own, slot[:, other])
            head[other] = head[one]
    return joined[:, head == np.arange(len(paths))]
