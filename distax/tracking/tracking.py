"""Tracks: the detections of a sequence linked, and smoothed over all its frames."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from distax.imaging.gaussian import disc_probability
from distax.imaging.targets import Targets
from distax.metrics import RADII
from distax.runtime.errors import DistaxError
from distax.runtime.numerics import exact_products
from distax.runtime.pytree import pytree
from distax.tracking.kalman import States, smooth
from distax.tracking.linking import Detections, Tracker, link, relink
from distax.unmixer import Unmixer

_WIDE = 4.0
"""Standard deviation in px of where a track is taken to be before anything is measured."""
_GROUP_STD = 0.1
"""What a detection too many or too few may shift the mean of a frame's detections by, in px."""
_REWEIGHTINGS = 8
"""Rounds in which the frames' weights settle where strangers drag their means along."""
_LEAST_STD = 1e-3
"""No position is believed to be better known than this, in px."""


@pytree
class Tracks:
    """The targets of sequences, each followed through the frames.

    Attributes:
      targets: `[..., T, M]`, a slot is the same target in every frame; `mask` is True from a
        track's first detection to its last. Positions, their covariances and hit probabilities
        are those given all frames, the intensity is the mean over the track's detections, and the
        score is the expected share of hits times the share of its frames a track was detected in.
      velocity: `[..., T, M, 2]` in px per frame.
      detection: `[..., T, M]`, slot of the frame's detection that was used; −1 where there was
        none, or none that could be told apart.
    """

    targets: Targets
    velocity: Float[Array | np.ndarray, "*batch T M 2"]
    detection: Int[Array | np.ndarray, "*batch T M"]

    @property
    def exists(self) -> Bool[Array, "*batch M"]:
        """Which slots hold a track."""
        return jnp.any(self.targets.mask, axis=-2)


def unmix_sequences(
    unmixer: Unmixer,
    frames: Float[Array | np.ndarray, "..."],
) -> Targets:
    """What an unmixer finds in every frame, each on its own.

    Args:
      unmixer: made for the sensor and for the prior of single frames (`MotionPrior.frame_prior`).
      frames: raw sequences `[N, T, height, width]` in counts.

    Returns:
      Targets `[N, T, K]`.

    Raises:
      DistaxError: not a stack of sequences, or as the unmixer.
    """
    if np.ndim(frames) != 4:
        raise DistaxError(
            f"frames: an array of shape {np.shape(frames)}; sequences have four axes: number, "
            "frame, height, width"
        )
    shape = np.shape(frames)
    found = unmixer(np.reshape(frames, (-1, *shape[2:])))
    return jax.tree.map(lambda leaf: leaf.reshape(*shape[:2], *leaf.shape[1:]), found)


@partial(jax.jit, static_argnames="tracker")
@exact_products
def track(found: Targets, tracker: Tracker = Tracker()) -> Tracks:
    """Tracks through the detections of sequences.

    Detections are linked from frame to frame, every track is smoothed over all frames, and all
    detections are linked anew to the smoothed tracks: so mistakes of the first frames, where
    nothing was known of the motion, are mended by the later ones.

    Args:
      found: detections `[N, T, K]`; their covariances weigh them, where they are stated.
      tracker: what is expected of tracks and detections.

    Returns:
      Tracks `[N, T, M]`, M being the tracker's slots.
    """
    return jax.vmap(partial(_track, tracker=tracker))(found)


def _track(found: Targets, tracker: Tracker) -> Tracks:
    detections = _detections(found, tracker)
    velocity = _group_velocity(detections, tracker)

    def again(_: Int[Array, ""], detection: Int[Array, "T M"]) -> Int[Array, "T M"]:
        states = _smooth(detections, detection, velocity, tracker)
        life = _life(detection >= 0, tracker.patience)
        detection = relink(states, life, detections, tracker)
        enough = jnp.sum(detection >= 0, axis=0) >= tracker.min_hits
        return jnp.where(enough, detection, -1)

    linked = link(detections, velocity, tracker)
    detection = jax.lax.fori_loop(0, tracker.rounds, again, linked)
    states = _smooth(detections, detection, velocity, tracker)
    return _describe(found, detection, states)


def _detections(found: Targets, tracker: Tracker) -> Detections:
    if found.covariance is None:
        covariance = jnp.broadcast_to(jnp.eye(2), (*found.mask.shape, 2, 2))
        covariance = tracker.position_std**2 * covariance
    else:
        covariance = jnp.asarray(found.covariance) + _LEAST_STD**2 * jnp.eye(2)
    mask = jnp.asarray(found.mask)
    known = jnp.where(mask[..., None, None], covariance, jnp.eye(2))
    return Detections(position=found.place, covariance=known, mask=mask)


def _group_velocity(detections: Detections, tracker: Tracker) -> Float[Array, "T 2"]:
    """The velocity in every frame of the mean of its detections, smoothed over all frames.

    A false detection far from the others drags that mean along, so a frame weighs the less the
    farther its mean lies from the path (least squares reweighted, as for Cauchy errors).
    """
    weight = (
        detections.mask[..., None]
        / jnp.maximum(jnp.sum(detections.mask, axis=-1, keepdims=True), 1)[..., None]
    )
    centre = jnp.sum(weight * detections.position, axis=-2)
    spread = jnp.sum(weight[..., None] ** 2 * detections.covariance, axis=-3)
    seen = jnp.any(detections.mask, axis=-1)
    prior = _prior(centre[jnp.argmax(seen)], jnp.zeros(2), tracker.speed)
    spread = spread + _GROUP_STD**2 * jnp.eye(2)

    def fit(stray: Float[Array, " T"]) -> States:
        doubtful = spread + stray[:, None, None] * jnp.eye(2)
        return smooth(prior, centre, doubtful, seen, tracker.acceleration)

    def again(_: Int[Array, ""], stray: Float[Array, " T"]) -> Float[Array, " T"]:
        return jnp.sum((centre - fit(stray).position) ** 2, axis=-1)

    stray = jax.lax.fori_loop(0, _REWEIGHTINGS, again, jnp.zeros(len(seen)))
    return fit(stray).mean[:, 2:]


def _smooth(
    detections: Detections,
    detection: Int[Array, "T M"],
    velocity: Float[Array, "T 2"],
    tracker: Tracker,
) -> States:
    """States `[T, M]` of the tracks that are made of these detections."""
    frames = jnp.arange(len(detection))

    def one(detection: Int[Array, " T"]) -> States:
        seen = detection >= 0
        position = detections.position[frames, detection]
        first = jnp.argmax(seen)
        prior = _prior(position[first] - first * velocity[0], velocity[0], tracker.drift)
        covariance = detections.covariance[frames, detection]
        return smooth(prior, position, covariance, seen, tracker.acceleration)

    return jax.vmap(one, in_axes=1, out_axes=1)(detection)


def _prior(position: Float[Array, "2"], velocity: Float[Array, "2"], speed: float) -> States:
    return States(
        mean=jnp.concatenate([position, velocity]),
        covariance=jnp.diag(jnp.array([_WIDE, _WIDE, speed, speed]) ** 2),
    )


def _life(seen: Bool[Array, "T M"], patience: int = 0) -> Bool[Array, "T M"]:
    """Frames from a track's first detection to its last, and `patience` more on either side."""
    time = jnp.arange(len(seen))[:, None]
    first = jnp.argmax(seen, axis=0)
    last = len(seen) - 1 - jnp.argmax(seen[::-1], axis=0)
    return jnp.any(seen, axis=0) & (time >= first - patience) & (time <= last + patience)


def _describe(found: Targets, detection: Int[Array, "T M"], states: States) -> Tracks:
    seen = detection >= 0
    life = _life(seen)
    brightness = jnp.take_along_axis(found.intensity, jnp.maximum(detection, 0), axis=1)
    hits = jnp.sum(seen, axis=0)
    intensity = jnp.sum(brightness, axis=0, where=seen) / jnp.maximum(hits, 1)
    covariance = states.position_covariance
    hit = jnp.stack([disc_probability(covariance, radius) for radius in RADII], axis=-1)
    share = hits / jnp.maximum(jnp.sum(life, axis=0), 1)
    targets = Targets(
        position=jnp.where(life[..., None], states.position, 0.0),
        intensity=jnp.where(life, intensity, 0.0),
        mask=life,
        score=jnp.where(life, share * jnp.mean(hit, axis=-1), 0.0),
        covariance=covariance,
        hit_probability=hit,
    )
    return Tracks(targets=targets, velocity=states.mean[..., 2:], detection=detection)
