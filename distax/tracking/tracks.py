"""Tracks of sequences: detections associated, then smoothed over all frames."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from distax.imaging.checks import check_sequence_axes
from distax.imaging.gaussian import disc_probability
from distax.imaging.targets import Targets
from distax.metrics import RADII
from distax.runtime.numerics import exact_products
from distax.runtime.pytree import pytree
from distax.tracking.association import Detections, Tracker, associate, reassociate
from distax.tracking.kalman import States, smooth
from distax.tracking.sequence_unmixer import SequenceUnmixer
from distax.unmixer import Unmixer

_INITIAL_POSITION_STD = 4.0
"""Standard deviation in pixels of a track's initial position: wide enough not to bias the track,
small enough for float32."""
_CENTROID_STD = 0.1
"""Error in pixels of a frame's centroid from false and missed detections. A larger value follows
the group's motion less closely, a smaller one follows false detections."""
_REWEIGHTINGS = 8
"""Rounds of reweighted least squares. More rounds separate false detections better, at the cost of
a smoother pass each."""
MIN_POSITION_STD = 1e-3
"""Least standard deviation in pixels of a detection: keeps the filter well conditioned, at the cost
of weight for the most precise detections."""


@pytree
class Tracks:
    """The tracks of sequences.

    Attributes:
      targets: `[..., T, M]`; a slot is the same track in every frame. `mask` is True from a
        track's first detection to its last. Positions, covariances and hit probabilities are
        smoothed over all frames. The intensity is the mean over the track's detections. The score
        is the expected share of hits times the share of the track's frames with a detection.
      velocity: `[..., T, M, 2]` in pixels per frame.
      detection: `[..., T, M]`, slot of the frame's detection that belongs to the track; −1 for a
        missed or an unresolved detection.
      velocity_covariance: `[..., T, M, 2, 2]`; None if it is not known.
    """

    targets: Targets
    velocity: Float[Array | np.ndarray, "*batch T M 2"]
    detection: Int[Array | np.ndarray, "*batch T M"]
    velocity_covariance: Float[Array | np.ndarray, "*batch T M 2 2"] | None = None

    @property
    def exists(self) -> Bool[Array, "*batch M"]:
        """True for slots that hold a track, `[..., M]`."""
        return jnp.any(self.targets.mask, axis=-2)


def unmix_sequences(
    unmixer: Unmixer | SequenceUnmixer,
    frames: Float[Array | np.ndarray, "..."],
    advance: Callable[[int], object] | None = None,
) -> Targets:
    """Unmixes the frames of sequences, each on its own or by a model of sequences.

    Args:
      unmixer: made for the sensor and for the prior of single frames (`MotionPrior.frame_prior`);
        or a model of sequences, which has its own sensor and prior.
      frames: raw sequences `[N, T, height, width]` in counts.
      advance: called with the number of frames done after every portion, if every frame is unmixed
        on its own and there are several portions.

    Returns:
      Targets `[N, T, K]`. A model of sequences gives `[N, answered, K]`: those of the frames
      `unmixer.answered(T)` alone.

    Raises:
      DistaxError: the array does not have four axes, or the unmixer rejects the images.
    """
    if isinstance(unmixer, SequenceUnmixer):
        return unmixer(frames)
    check_sequence_axes(frames)
    shape = np.shape(frames)
    found = unmixer(np.reshape(frames, (-1, *shape[2:])), advance)
    return jax.tree.map(lambda leaf: leaf.reshape(*shape[:2], *leaf.shape[1:]), found)


@partial(jax.jit, static_argnames="tracker")
@exact_products
def track(found: Targets, tracker: Tracker = Tracker()) -> Tracks:
    """Tracks the targets of sequences through the detections of all frames.

    Detections are associated from frame to frame and every track is smoothed over all frames. All
    detections are then associated again with the smoothed tracks. This corrects wrong associations
    of the first frames, made before the velocities were known.

    Args:
      found: detections `[N, T, K]`, weighted by their covariances where stated.
      tracker: parameters.

    Returns:
      Tracks `[N, T, M]` with M = `tracker.max_tracks`.
    """
    return jax.vmap(partial(_track_sequence, tracker=tracker))(found)


def _track_sequence(found: Targets, tracker: Tracker) -> Tracks:
    detections = _as_detections(found, tracker)
    velocity = _estimate_group_velocity(detections, tracker)

    def repeat(_: Int[Array, ""], detection: Int[Array, "T M"]) -> Int[Array, "T M"]:
        states = _smooth_tracks(detections, detection, velocity, tracker)
        alive = _track_span(detection >= 0, tracker.max_missed_detections)
        detection = reassociate(states, alive, detections, tracker)
        confirmed = jnp.sum(detection >= 0, axis=0) >= tracker.min_detections
        return jnp.where(confirmed, detection, -1)

    first = associate(detections, velocity, tracker)
    detection = jax.lax.fori_loop(0, tracker.association_rounds, repeat, first)
    states = _smooth_tracks(detections, detection, velocity, tracker)
    return _summarise_tracks(found, detection, states)


def _as_detections(found: Targets, tracker: Tracker) -> Detections:
    if found.covariance is None:
        covariance = jnp.broadcast_to(jnp.eye(2), (*found.mask.shape, 2, 2))
        covariance = tracker.position_std**2 * covariance
    else:
        covariance = jnp.asarray(found.covariance) + MIN_POSITION_STD**2 * jnp.eye(2)
    mask = jnp.asarray(found.mask)
    covariance = jnp.where(mask[..., None, None], covariance, jnp.eye(2))
    return Detections(position=found.place, covariance=covariance, mask=mask)


def _estimate_group_velocity(detections: Detections, tracker: Tracker) -> Float[Array, "T 2"]:
    """Estimates the group's velocity in every frame from the smoothed centroids of detections.

    A false detection far from the others shifts its frame's centroid. So frames are reweighted by
    the squared residual of their centroid, as in least squares with Cauchy errors.
    """
    weight = (
        detections.mask[..., None]
        / jnp.maximum(jnp.sum(detections.mask, axis=-1, keepdims=True), 1)[..., None]
    )
    centroid = jnp.sum(weight * detections.position, axis=-2)
    covariance = jnp.sum(weight[..., None] ** 2 * detections.covariance, axis=-3)
    detected = jnp.any(detections.mask, axis=-1)
    prior = _initial_state(centroid[jnp.argmax(detected)], jnp.zeros(2), tracker.velocity_std)
    covariance = covariance + _CENTROID_STD**2 * jnp.eye(2)

    def fit(squared_residual: Float[Array, " T"]) -> States:
        inflated = covariance + squared_residual[:, None, None] * jnp.eye(2)
        return smooth(prior, centroid, inflated, detected, tracker.process_noise)

    def reweight(_: Int[Array, ""], squared_residual: Float[Array, " T"]) -> Float[Array, " T"]:
        return jnp.sum((centroid - fit(squared_residual).position) ** 2, axis=-1)

    none = jnp.zeros(len(detected))
    return jnp.asarray(fit(jax.lax.fori_loop(0, _REWEIGHTINGS, reweight, none)).mean[:, 2:])


def _smooth_tracks(
    detections: Detections,
    detection: Int[Array, "T M"],
    velocity: Float[Array, "T 2"],
    tracker: Tracker,
) -> States:
    """Smooths all tracks, given their detections; returns states `[T, M]`."""
    frames = jnp.arange(len(detection))

    def smooth_track(detection: Int[Array, " T"]) -> States:
        detected = detection >= 0
        position = detections.position[frames, detection]
        first = jnp.argmax(detected)
        start = position[first] - first * velocity[0]
        prior = _initial_state(start, velocity[0], tracker.drift_std)
        covariance = detections.covariance[frames, detection]
        return smooth(prior, position, covariance, detected, tracker.process_noise)

    return jax.vmap(smooth_track, in_axes=1, out_axes=1)(detection)


def _initial_state(
    position: Float[Array, "2"], velocity: Float[Array, "2"], velocity_std: float
) -> States:
    deviation = [_INITIAL_POSITION_STD, _INITIAL_POSITION_STD, velocity_std, velocity_std]
    return States(
        mean=jnp.concatenate([position, velocity]),
        covariance=jnp.diag(jnp.array(deviation) ** 2),
    )


def _track_span(detected: Bool[Array, "T M"], margin: int = 0) -> Bool[Array, "T M"]:
    """Returns True from a track's first detection to its last, and `margin` frames beyond both."""
    time = jnp.arange(len(detected))[:, None]
    first = jnp.argmax(detected, axis=0)
    last = len(detected) - 1 - jnp.argmax(detected[::-1], axis=0)
    return jnp.any(detected, axis=0) & (time >= first - margin) & (time <= last + margin)


def _summarise_tracks(found: Targets, detection: Int[Array, "T M"], states: States) -> Tracks:
    """Builds the tracks' targets from their detections and smoothed states."""
    detected = detection >= 0
    span = _track_span(detected)
    intensities = jnp.take_along_axis(found.intensity, jnp.maximum(detection, 0), axis=1)
    count = jnp.sum(detected, axis=0)
    intensity = jnp.sum(intensities, axis=0, where=detected) / jnp.maximum(count, 1)
    covariance = jnp.asarray(states.position_covariance)
    hit = jnp.stack([disc_probability(covariance, radius) for radius in RADII], axis=-1)
    detected_share = count / jnp.maximum(jnp.sum(span, axis=0), 1)
    targets = Targets(
        position=jnp.where(span[..., None], states.position, 0.0),
        intensity=jnp.where(span, intensity, 0.0),
        mask=span,
        score=jnp.where(span, detected_share * jnp.mean(hit, axis=-1), 0.0),
        covariance=covariance,
        hit_probability=hit,
    )
    return Tracks(
        targets=targets,
        velocity=states.mean[..., 2:],
        detection=detection,
        velocity_covariance=states.covariance[..., 2:, 2:],
    )
