"""Which detections of successive frames are the same target."""

import math
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from distax.imaging.motion import MotionPrior
from distax.metrics.matching import best_partners
from distax.runtime.errors import DistaxError, check_not_negative, check_positive
from distax.runtime.pytree import pytree
from distax.tracking.kalman import States, predict, update


@dataclass(frozen=True)
class Tracker:
    """What is expected of targets and detections when tracks are made of them.

    Attributes:
      speed: standard deviation along each axis of the velocity of the group, in px per frame.
      drift: standard deviation along each axis of a target's velocity beside the group's.
      acceleration: standard deviation along each axis of the change of a velocity in one frame.
      position_std: standard deviation in px along each axis of the positions of an estimator that
        does not state any.
      gate: probability with which a target's detection is to lie within what its track predicts;
        what lies outside is not linked.
      strangers: detections per px² and frame that belong to no track known so far.
      patience: frames in a row that a target may be missed.
      min_hits: detections that make a track; what has fewer is taken for false detections.
      slots: tracks at a time, false ones included; what finds none free starts no track.
      rounds: times that all detections are linked anew with the tracks made of them.

    Raises:
      DistaxError: a limit that is not positive, or a gate that is no probability.
    """

    speed: float = 0.1
    drift: float = 0.01
    acceleration: float = 1e-4
    position_std: float = 0.1
    gate: float = 0.999
    strangers: float = 0.1
    patience: int = 5
    min_hits: int = 4
    slots: int = 12
    rounds: int = 5

    def __post_init__(self) -> None:
        names = ("speed", "drift", "acceleration", "position_std", "strangers", "min_hits", "slots")
        check_positive(**{name: getattr(self, name) for name in names})
        if not 0 < self.gate < 1:
            raise DistaxError(f"gate must lie between 0 and 1, got {self.gate}")
        check_not_negative(patience=self.patience, rounds=self.rounds)

    @classmethod
    def for_prior(cls, prior: MotionPrior) -> "Tracker":
        """What a motion prior makes of it: velocities uniform in a disc have half its radius."""
        least = cls().acceleration
        return cls(
            speed=max(prior.speed / 2, least),
            drift=max(prior.drift / 2, least),
            acceleration=max(prior.acceleration / 2, least),
        )

    @property
    def gate_distance(self) -> float:
        """Largest squared Mahalanobis distance of a detection from what its track predicts."""
        return -2 * math.log1p(-self.gate)


@pytree
class Detections:
    """Measured positions, one axis of frames before that of slots.

    Attributes:
      position: `[..., K, 2]` in pixels.
      covariance: `[..., K, 2, 2]` in px².
      mask: `[..., K]`, False where a slot is padding.
    """

    position: Float[Array, "*batch K 2"]
    covariance: Float[Array, "*batch K 2 2"]
    mask: Bool[Array, "*batch K"]


@pytree
class _Slots:
    """Tracks on their way through the frames.

    Attributes:
      states: `[M]`, predicted for the frame to come.
      born: frame of the first detection.
      hits: number of detections; 0 where a slot is free.
      missed: frames since the last.
      alive: False where a slot is free, or its track has ended.
    """

    states: States
    born: Int[Array, " M"]
    hits: Int[Array, " M"]
    missed: Int[Array, " M"]
    alive: Bool[Array, " M"]


def link(
    detections: Detections, velocity: Float[Array, "T 2"], tracker: Tracker
) -> Int[Array, "T M"]:
    """Tracks from the first frame to the last: a filter each, nearest likely detections first.

    In each frame those pairs of tracks and detections are made that together are most likely
    (global nearest neighbour); a detection without one starts a track, and a track that is missed
    for too long ends.

    Args:
      detections: of one sequence, `[T, K]`.
      velocity: what new tracks are taken to move by, in px per frame.
      tracker: what is expected of them.

    Returns:
      The detection of each track in each frame, −1 where it has none.
    """
    size = tracker.slots
    nothing = _Slots(
        states=States(
            mean=jnp.zeros((size, 4)), covariance=jnp.broadcast_to(jnp.eye(4), (size, 4, 4))
        ),
        born=jnp.zeros(size, int),
        hits=jnp.zeros(size, int),
        missed=jnp.zeros(size, int),
        alive=jnp.zeros(size, bool),
    )

    def step(slots: _Slots, frame: tuple[Array, Detections, Array]) -> tuple[_Slots, Array]:
        time, found, new_velocity = frame
        partner = best_partners(_benefit(slots.states, slots.alive, found, tracker))
        slots = _continue(slots, partner, found, tracker)
        started = _starts(slots, partner, found.mask)
        slots = _start(slots, started, time, found, new_velocity, tracker)
        ahead = jax.vmap(lambda state: predict(state, tracker.acceleration))(slots.states)
        return replace(slots, states=ahead), jnp.where(started >= 0, started, partner)

    frames = jnp.arange(len(velocity))
    slots, partners = jax.lax.scan(step, nothing, (frames, detections, velocity))
    # A slot may have held another track before, which was too short to be one.
    own = (frames[:, None] >= slots.born) & (slots.hits >= tracker.min_hits)
    return jnp.where(own, partners, -1)


def relink(
    states: States, alive: Bool[Array, "T M"], detections: Detections, tracker: Tracker
) -> Int[Array, "T M"]:
    """Links as `link` makes them, given all tracks' states `[T, M]` in all frames.

    Where a frame resolves fewer targets than there are, one detection stands for two of them. So
    a detection that a track would have taken that now has none is nobody's.
    """

    def one(states: States, alive: Array, found: Detections) -> Int[Array, " M"]:
        benefit = _benefit(states, alive, found, tracker)
        partner = best_partners(benefit)
        bereft = (partner < 0) & alive
        shared = jnp.any((benefit > 0) & bereft[:, None], axis=0)
        return jnp.where((partner >= 0) & shared[partner], -1, partner)

    return jax.vmap(one)(states, alive, detections)


def _benefit(
    states: States, alive: Bool[Array, " M"], found: Detections, tracker: Tracker
) -> Float[Array, "M K"]:
    """Logarithm of how much likelier each pair is than a stranger; 0 outside the gate."""
    offset = found.position - states.position[:, None]
    spread = found.covariance + states.position_covariance[:, None]
    (row, mixed), (_, column) = jnp.moveaxis(spread, (-2, -1), (0, 1))
    determinant = row * column - mixed**2
    y, x = jnp.moveaxis(offset, -1, 0)
    distance = (column * y**2 - 2 * mixed * x * y + row * x**2) / determinant
    density = -0.5 * (distance + jnp.log(determinant)) - math.log(2 * math.pi)
    allowed = alive[:, None] & found.mask & (distance <= tracker.gate_distance)
    return jnp.where(allowed, density - math.log(tracker.strangers), 0.0)


def _continue(
    slots: _Slots, partner: Int[Array, " M"], found: Detections, tracker: Tracker
) -> _Slots:
    seen = partner >= 0
    measured = (found.position[partner], found.covariance[partner], seen)
    missed = jnp.where(seen, 0, slots.missed + 1)
    alive = slots.alive & (missed <= tracker.patience)
    forgotten = ~alive & (slots.hits < tracker.min_hits)
    return _Slots(
        states=jax.vmap(update)(slots.states, *measured),
        born=slots.born,
        hits=jnp.where(forgotten, 0, slots.hits + seen),
        missed=missed,
        alive=alive,
    )


def _starts(
    slots: _Slots, partner: Int[Array, " M"], detected: Bool[Array, " K"]
) -> Int[Array, " M"]:
    """The detection that each free slot starts a track with; −1 for none."""
    taken = jnp.any(partner[:, None] == jnp.arange(len(detected)), axis=0)
    new = detected & ~taken
    free = ~slots.alive & (slots.hits == 0)
    waiting = jnp.argsort(~new)
    turn = jnp.cumsum(free) - 1
    return jnp.where(free & (turn < jnp.sum(new)), waiting[jnp.minimum(turn, len(new) - 1)], -1)


def _start(
    slots: _Slots,
    started: Int[Array, " M"],
    time: Int[Array, ""],
    found: Detections,
    velocity: Float[Array, "2"],
    tracker: Tracker,
) -> _Slots:
    starts = started >= 0
    size = len(started)
    mean = jnp.concatenate([found.position[started], jnp.tile(velocity, (size, 1))], axis=-1)
    covariance = jnp.zeros((size, 4, 4)).at[:, :2, :2].set(found.covariance[started])
    covariance = covariance.at[:, 2:, 2:].set(tracker.drift**2 * jnp.eye(2))
    new = _Slots(
        states=States(mean=mean, covariance=covariance),
        born=jnp.full(size, time),
        hits=jnp.ones(size, int),
        missed=jnp.zeros(size, int),
        alive=jnp.ones(size, bool),
    )

    def choose(fresh: Array, old: Array) -> Array:
        return jnp.where(starts.reshape(-1, *[1] * (old.ndim - 1)), fresh, old)

    return jax.tree.map(choose, new, slots)
