"""Data association: assigns the detections of successive frames to tracks.

Global nearest neighbour with gating (Blackman & Popoli, "Design and Analysis of Modern Tracking
Systems", 1999, section 6.4): a pair of track and detection scores the logarithm of its likelihood
over the clutter density.
"""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from distax.imaging.motion import MotionPrior
from distax.metrics.matching import best_partners
from distax.runtime.errors import DistaxError, check_not_negative, check_positive
from distax.runtime.fields import check_fields
from distax.runtime.pytree import pytree
from distax.tracking.gating import Detections, gate_threshold, log_likelihood_ratio
from distax.tracking.kalman import States, predict, update


@dataclass(frozen=True)
class Tracker:
    """Parameters of the tracker: motion model, gating, clutter and track management.

    Attributes:
      velocity_std: standard deviation along each axis of the group's velocity, in pixels per
        frame.
      drift_std: standard deviation along each axis of a target's velocity relative to the group's,
        in pixels per frame.
      process_noise: standard deviation along each axis of the change of a velocity from one frame
        to the next, in pixels per frame.
      position_std: standard deviation in pixels along each axis of the positions of an estimator
        that states no covariance.
      gate_probability: probability that a target's detection lies inside its track's gate;
        detections outside the gate are not associated with the track.
      clutter_density: density of false detections and of detections of new targets, per px² and
        frame.
      max_missed_detections: missed detections in a row that a track survives; one more ends it.
      min_detections: detections that confirm a track; tracks with fewer are false tracks.
      max_tracks: largest number of tracks at a time, false ones included.
      association_rounds: number of times that all detections are associated again, with the
        smoothed tracks.

    Raises:
      DistaxError: a value that must be positive is not, or the gate probability lies outside 0
        to 1.
    """

    velocity_std: float = 0.1
    drift_std: float = 0.01
    process_noise: float = 1e-4
    position_std: float = 0.1
    gate_probability: float = 0.999
    clutter_density: float = 0.1
    max_missed_detections: int = 5
    min_detections: int = 4
    max_tracks: int = 12
    association_rounds: int = 5

    def __post_init__(self) -> None:
        check_fields(self)
        positive = (
            *("velocity_std", "drift_std", "process_noise", "position_std"),
            *("clutter_density", "min_detections", "max_tracks"),
        )
        check_positive(**{name: getattr(self, name) for name in positive})
        if not 0 < self.gate_probability < 1:
            raise DistaxError(
                f"gate_probability must lie between 0 and 1, got {self.gate_probability}"
            )
        check_not_negative(
            max_missed_detections=self.max_missed_detections,
            association_rounds=self.association_rounds,
        )

    @classmethod
    def for_prior(cls, prior: MotionPrior) -> "Tracker":
        """Returns a tracker for the number and the velocities of a motion prior's targets.

        There is room for as many false tracks as true ones. A velocity that is uniform in a disc
        has half its radius as standard deviation along each axis.
        """
        least = cls().process_noise
        return cls(
            max_tracks=max(2 * prior.placement.max_targets, cls().max_tracks),
            velocity_std=max(prior.speed / 2, least),
            drift_std=max(prior.drift / 2, least),
            process_noise=max(prior.acceleration / 2, least),
        )

    @property
    def gate_threshold(self) -> float:
        """Largest squared Mahalanobis distance of a detection inside a track's gate."""
        return gate_threshold(self.gate_probability)


@pytree
class _TrackSlots:
    """Track slots at one frame of the forward pass.

    Attributes:
      states: `[M]`, predicted for the next frame.
      first_frame: frame of the first detection.
      detected: number of detections; 0 for a free slot.
      missed: missed detections since the last detection.
      alive: False for a free slot and for a track that has ended.
    """

    states: States
    first_frame: Int[Array, " M"]
    detected: Int[Array, " M"]
    missed: Int[Array, " M"]
    alive: Bool[Array, " M"]


def associate(
    detections: Detections, velocity: Float[Array, "T 2"], tracker: Tracker
) -> Int[Array, "T M"]:
    """Associates detections with tracks from the first frame to the last.

    Each track has a Kalman filter. In every frame the detections are assigned to the tracks' gated
    predictions by global nearest neighbour. A detection without a track starts one. A track ends
    after too many missed detections in a row.

    Args:
      detections: detections of one sequence, `[T, K]`.
      velocity: initial velocity of a track that starts in each frame, in pixels per frame.
      tracker: parameters.

    Returns:
      The slot of each track's detection in each frame; −1 for a missed detection.
    """
    size, limits = tracker.max_tracks, (tracker.gate_threshold, tracker.clutter_density)
    empty = _TrackSlots(
        states=States(
            mean=jnp.zeros((size, 4)), covariance=jnp.broadcast_to(jnp.eye(4), (size, 4, 4))
        ),
        first_frame=jnp.zeros(size, int),
        detected=jnp.zeros(size, int),
        missed=jnp.zeros(size, int),
        alive=jnp.zeros(size, bool),
    )

    def step(
        slots: _TrackSlots, frame: tuple[Array, Detections, Array]
    ) -> tuple[_TrackSlots, Array]:
        time, found, new_velocity = frame
        ratio = log_likelihood_ratio(slots.states, slots.alive, found, *limits)
        assigned = best_partners(ratio)
        slots = _update_tracks(slots, assigned, found, tracker)
        new = _choose_new_tracks(slots, assigned, jnp.asarray(found.mask))
        slots = _initiate_tracks(slots, new, time, found, new_velocity, tracker)
        predicted = jax.vmap(lambda state: predict(state, tracker.process_noise))(slots.states)
        return replace(slots, states=predicted), jnp.where(new >= 0, new, assigned)

    frames = jnp.arange(len(velocity))
    slots, assigned = jax.lax.scan(step, empty, (frames, detections, velocity))
    # A slot may have held an earlier track that was never confirmed.
    confirmed = (frames[:, None] >= slots.first_frame) & (slots.detected >= tracker.min_detections)
    return jnp.where(confirmed, assigned, -1)


def reassociate(
    states: States, alive: Bool[Array, "T M"], detections: Detections, tracker: Tracker
) -> Int[Array, "T M"]:
    """Associates detections with smoothed tracks, whose states `[T, M]` are known in all frames.

    Where a frame does not resolve two targets, one detection lies between them and is biased for
    both. So a detection inside the gate of a track that got no detection is given to neither.

    Returns:
      The slot of each track's detection in each frame; −1 for a missed detection.
    """

    def associate_frame(states: States, alive: Array, found: Detections) -> Int[Array, " M"]:
        ratio = log_likelihood_ratio(
            states, alive, found, tracker.gate_threshold, tracker.clutter_density
        )
        assigned = best_partners(ratio)
        missed = (assigned < 0) & alive
        unresolved = jnp.any((ratio > 0) & missed[:, None], axis=0)
        return jnp.where((assigned >= 0) & unresolved[assigned], -1, assigned)

    return jax.vmap(associate_frame)(states, alive, detections)


def _update_tracks(
    slots: _TrackSlots, assigned: Int[Array, " M"], found: Detections, tracker: Tracker
) -> _TrackSlots:
    """Updates every track with its detection, ends tracks and frees slots of false tracks."""
    detected = assigned >= 0
    measured = (found.position[assigned], found.covariance[assigned], detected)
    missed = jnp.where(detected, 0, slots.missed + 1)
    alive = slots.alive & (missed <= tracker.max_missed_detections)
    false_track = ~alive & (slots.detected < tracker.min_detections)
    return _TrackSlots(
        states=jax.vmap(update)(slots.states, *measured),
        first_frame=slots.first_frame,
        detected=jnp.where(false_track, 0, slots.detected + detected),
        missed=missed,
        alive=alive,
    )


def _choose_new_tracks(
    slots: _TrackSlots, assigned: Int[Array, " M"], mask: Bool[Array, " K"]
) -> Int[Array, " M"]:
    """Returns the unassigned detection that starts a track in each free slot; −1 for none."""
    taken = jnp.any(assigned[:, None] == jnp.arange(len(mask)), axis=0)
    unassigned = mask & ~taken
    free = ~slots.alive & (slots.detected == 0)
    order = jnp.argsort(~unassigned)
    rank = jnp.cumsum(free) - 1
    started = free & (rank < jnp.sum(unassigned))
    return jnp.where(started, order[jnp.minimum(rank, len(mask) - 1)], -1)


def _initiate_tracks(
    slots: _TrackSlots,
    new: Int[Array, " M"],
    time: Int[Array, ""],
    found: Detections,
    velocity: Float[Array, "2"],
    tracker: Tracker,
) -> _TrackSlots:
    """Starts tracks at the chosen detections, with the group's velocity."""
    size = len(new)
    mean = jnp.concatenate([found.position[new], jnp.tile(velocity, (size, 1))], axis=-1)
    covariance = jnp.zeros((size, 4, 4)).at[:, :2, :2].set(found.covariance[new])
    covariance = covariance.at[:, 2:, 2:].set(tracker.drift_std**2 * jnp.eye(2))
    initial = _TrackSlots(
        states=States(mean=mean, covariance=covariance),
        first_frame=jnp.full(size, time),
        detected=jnp.ones(size, int),
        missed=jnp.zeros(size, int),
        alive=jnp.ones(size, bool),
    )

    def choose(fresh: Array, old: Array) -> Array:
        return jnp.where((new >= 0).reshape(-1, *[1] * (old.ndim - 1)), fresh, old)

    return jax.tree.map(choose, initial, slots)
