"""Linking of the detections of whole frames: births, gaps and deaths of any number of tracks.

The association is that of `association`: global nearest neighbour with gating. But a whole frame
holds an unknown number of targets without a common velocity. So tracks are opened on the host as
detections call for them, and the assignment is SciPy's.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from distax.tracking.frame_tracker import FrameTracker
from distax.tracking.gating import Detections, log_likelihood_ratio
from distax.tracking.kalman import States, predict, update

Tree = TypeVar("Tree")

_SMALLEST = 16
"""Smallest number of tracks for which a program is compiled."""
_KNOWN = 3
"""Detections after which a track's velocity is known well enough to tell a shift of the camera."""
_VOTERS = 3
"""Fewest tracks that must agree on a shift. Fewer agree by chance."""
_FARTHEST = 8.0
"""Largest shift between the predictions and a frame that is looked for, in standard deviations of
the jitter. A larger one would find agreement by chance in crowded frames."""


@dataclass(frozen=True)
class _Open:
    """Tracks that go on, with their states predicted for the next frame.

    Attributes:
      states: `[M]`.
      number: `[M]`, numbers of the tracks, in the order of their first detections.
      seen: `[M]`, number of detections.
      missed: `[M]`, missed detections since the last one.
    """

    states: States
    number: Int[np.ndarray, " M"]
    seen: Int[np.ndarray, " M"]
    missed: Int[np.ndarray, " M"]


def link(
    detections: Detections, tracker: FrameTracker, clutter_density: float, jitter: float = 0.0
) -> Int[np.ndarray, "T M"]:
    """Links detections to tracks from the first frame to the last.

    Args:
      detections: detections of a sequence, `[T, K]`, on the host.
      tracker: parameters.
      jitter: standard deviation along each axis of a shift that all detections of a frame have in
        common, in pixels.
      clutter_density: detections in a frame that continue no track, per px².

    Returns:
      The slot of each track's detection in each frame, −1 for none. Every detection belongs to a
      track, if only to one of its own.
    """
    tracks = _Open(
        states=States(mean=np.zeros((0, 4)), covariance=np.zeros((0, 4, 4))),
        number=np.zeros(0, int),
        seen=np.zeros(0, int),
        missed=np.zeros(0, int),
    )
    links: list[tuple[np.ndarray, list[int]]] = []
    born = 0
    for time in range(len(detections.mask)):
        found = jax.tree.map(lambda leaf, time=time: leaf[time], detections)
        shift = _common_shift(tracks, found, jitter) if jitter else np.zeros(2)
        # A shift is taken out of the comparison only. In the states it would pass for a motion of
        # the camera that nothing holds back.
        found = _uncertain(found, jitter**2)
        steady = replace(found, position=found.position - shift)
        ratio = _ratios(tracks.states, steady, tracker.gate, clutter_density)
        assigned = pair(ratio)
        new = np.setdiff1d(np.flatnonzero(found.mask), assigned)
        numbers = born + np.arange(len(new))
        born += len(new)
        hits = np.flatnonzero(assigned >= 0)
        links.append((np.concatenate([tracks.number[hits], numbers]), [*assigned[hits], *new]))
        shaken = _uncertain(found, float(np.sum(shift**2)))
        tracks = _follow(tracks, assigned, shaken, tracker, new, numbers)
    table = np.full((len(detections.mask), born), -1)
    for time, (number, slot) in enumerate(links):
        table[time, number] = slot
    return table


def relink(
    states: States,
    alive: Bool[np.ndarray, "T M"],
    within: Bool[np.ndarray, "T M"],
    detections: Detections,
    tracker: FrameTracker,
    clutter_density: float,
) -> Int[np.ndarray, "T M"]:
    """Links detections to smoothed tracks.

    As in `association.reassociate`, a detection inside the gate of a track that got no detection is
    given to neither, because it may be the two targets unresolved.

    Args:
      states: states of the tracks in all frames, `[T, M]`.
      alive: frames in which a track may get a detection.
      within: frames between a track's first detection and its last, in which it ought to get one.
      detections: detections of a sequence, `[T, K]`.
      tracker: parameters.
      clutter_density: as for `link`.

    Returns:
      The slot of each track's detection in each frame, −1 for none.
    """
    table = np.full(alive.shape, -1)
    for time, living in enumerate(alive):
        found = jax.tree.map(lambda leaf, time=time: leaf[time], detections)
        here = jax.tree.map(lambda leaf, time=time, own=living: leaf[time][own], states)
        ratio = _ratios(here, found, tracker.gate, clutter_density)
        assigned = pair(ratio)
        missed = within[time][living] & (assigned < 0)
        unresolved = np.any(ratio[missed] > 0, axis=0)
        kept = (assigned >= 0) & ~unresolved[assigned]
        table[time, living] = np.where(kept, assigned, -1)
    return table


def pair(ratio: Float[np.ndarray, "M K"]) -> Int[np.ndarray, " M"]:
    """Pairs tracks and detections one to one with the largest sum of log likelihood ratios.

    Returns:
      Each track's detection; −1 for a track without one. A pair whose ratio is not positive is
      never made.
    """
    from scipy.optimize import linear_sum_assignment

    track, slot = linear_sum_assignment(np.maximum(ratio, 0.0), maximize=True)
    partner = np.full(len(ratio), -1)
    made = ratio[track, slot] > 0
    partner[track[made]] = slot[made]
    return partner


def _common_shift(tracks: _Open, found: Detections, jitter: float) -> Float[np.ndarray, "2"]:
    """Finds the shift from predictions to detections on which most tracks agree; zero for none."""
    from scipy.spatial import cKDTree

    known = tracks.seen >= _KNOWN
    offset = found.position[found.mask] - tracks.states.mean[known][:, None, :2]
    offset = offset.reshape(-1, 2)
    offset = offset[np.max(np.abs(offset), axis=1) <= _FARTHEST * jitter]
    if not len(offset):
        return np.zeros(2)
    votes = max(cKDTree(offset).query_ball_point(offset, jitter), key=len)
    if len(votes) < max(_VOTERS, np.sum(known) / 2):
        return np.zeros(2)
    return np.median(offset[votes], axis=0)


def _uncertain(found: Detections, variance: float) -> Detections:
    """Adds a variance along each axis to the errors of detections."""
    return replace(found, covariance=found.covariance + variance * np.eye(2))


def _follow(
    tracks: _Open,
    assigned: Int[np.ndarray, " M"],
    found: Detections,
    tracker: FrameTracker,
    new: Int[np.ndarray, " N"],
    numbers: Int[np.ndarray, " N"],
) -> _Open:
    """Updates the tracks, ends some, opens one at each new detection, and predicts all."""
    missed = np.where(assigned >= 0, 0, tracks.missed + 1)
    kept = np.flatnonzero(missed <= tracker.max_missed_detections)
    slot = np.concatenate([assigned[kept], new])
    start = _initial_states(found, new, tracker.velocity_std)
    states = jax.tree.map(
        lambda old, fresh: np.concatenate([old[kept], fresh]), tracks.states, start
    )
    # A new track starts at its detection, which must not count twice.
    detected = (slot >= 0) & (np.arange(len(slot)) < len(kept))
    rows = _padded(
        (states, found.position[slot], found.covariance[slot], detected), _room(len(slot))
    )
    moved = jax.tree.map(np.asarray, _advance(*rows, process_noise=tracker.process_noise))
    return _Open(
        states=jax.tree.map(lambda leaf: leaf[: len(slot)], moved),
        number=np.concatenate([tracks.number[kept], numbers]),
        seen=np.concatenate([(tracks.seen + (assigned >= 0))[kept], np.ones(len(new), int)]),
        missed=np.concatenate([missed[kept], np.zeros(len(new), int)]),
    )


def _initial_states(found: Detections, new: Int[np.ndarray, " N"], velocity_std: float) -> States:
    covariance = np.zeros((len(new), 4, 4))
    covariance[:, :2, :2] = found.covariance[new]
    covariance[:, 2:, 2:] = velocity_std**2 * np.eye(2)
    return States(
        mean=np.concatenate([found.position[new], np.zeros((len(new), 2))], axis=1),
        covariance=covariance,
    )


def _ratios(
    states: States, found: Detections, gate: float, clutter_density: float
) -> Float[np.ndarray, "M K"]:
    """Computes `log_likelihood_ratio` on the host, for any number of tracks."""
    number = len(states.mean)
    rows = _padded((states, np.ones(number, bool)), _room(number))
    ratio = _ratio(*rows, found, gate=gate, clutter_density=clutter_density)
    return np.asarray(ratio)[:number]


def _room(number: int) -> int:
    """Returns the number of tracks that a program is compiled for: a power of two."""
    return max(_SMALLEST, 1 << max(number - 1, 0).bit_length())


def _padded(tree: Tree, rows: int) -> Tree:
    """Pads arrays along their first axis with zeros, and covariances with unit matrices."""

    def pad(leaf: np.ndarray) -> np.ndarray:
        missing = rows - len(leaf)
        if leaf.ndim > 2:  # covariances, which must be invertible
            return np.concatenate([leaf, np.tile(np.eye(leaf.shape[-1]), (missing, 1, 1))])
        return np.pad(leaf, [(0, missing)] + [(0, 0)] * (leaf.ndim - 1))

    return jax.tree.map(pad, tree)


_ratio = jax.jit(log_likelihood_ratio, static_argnames=("gate", "clutter_density"))


@partial(jax.jit, static_argnames="process_noise")
def _advance(
    states: States,
    position: Float[Array, "M 2"],
    covariance: Float[Array, "M 2 2"],
    detected: Bool[Array, " M"],
    process_noise: float,
) -> States:
    """Updates states by their detections and predicts them in the next frame."""
    updated = jax.vmap(update)(states, position, covariance, detected)
    return jax.vmap(lambda state: predict(state, process_noise))(updated)
