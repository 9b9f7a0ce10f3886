"""Random sequences: groups of targets that move through a staring sensor's frames."""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PRNGKeyArray

from distax.imaging.forward import render
from distax.imaging.scenes import IMAGE_SHAPE, ScenePrior, check_host, sample_each, scene_keys
from distax.imaging.sensor import Sensor, expose
from distax.imaging.targets import Targets, make_targets
from distax.runtime.errors import DistaxError, check_not_negative, check_positive
from distax.runtime.numerics import check_key
from distax.runtime.pytree import known_numbers, traced_numbers


@traced_numbers("frames")
@dataclass(frozen=True)
class MotionPrior:
    """A prior of the targets' motion in a sequence.

    The group has a velocity and an acceleration. Each target has a velocity of its own relative to
    the group's. All are constant in time and uniform over discs. The scene prior holds in the first
    frame alone: later the group may leave its square, and targets may pass each other. Motions are
    drawn by rejection until no target comes nearer to the image's edge than `margin` in any frame.
    Intensities are constant.

    SeqCSIST (arXiv:2507.09556) has 5,000 trajectories of 20 frames of 11×11 px, with annotations
    like CSIST-100K's. Its speeds and its treatment of the edge are not published, so all motion
    here is an assumption.

    Attributes:
      placement: prior of number, positions and intensities of the targets in the first frame.
      frames: number of frames of a sequence.
      speed: largest speed of the group in the first frame, in pixels per frame.
      drift: largest speed of a target relative to the group, in pixels per frame.
      acceleration: largest acceleration of the group in pixels per frame².
      margin: smallest distance of a target from the image's edge, in pixels.

    Raises:
      DistaxError: there are no frames, a limit is negative, targets may start nearer to the edge
        than the margin.
    """

    placement: ScenePrior = field(default_factory=ScenePrior)
    frames: int = 20
    speed: float = 0.2
    drift: float = 0.02
    acceleration: float = 0.0
    margin: float = 0.5

    def __post_init__(self) -> None:
        check_positive(frames=self.frames)
        names = ("speed", "drift", "acceleration", "margin")
        for name, value in known_numbers(**{name: getattr(self, name) for name in names}):
            check_not_negative(**{name: value})
        nearest = self.placement.border + (1 - self.placement.cluster) / 2
        for _, beyond in known_numbers(beyond=self.margin - nearest):
            if beyond > 0:
                raise DistaxError(
                    f"targets may start nearer than {self.margin} px to the image's edge; lower "
                    "margin or raise the scene prior's border"
                )

    def check_room(self, shape: tuple[int, int]) -> None:
        """Raises DistaxError if the motion may need more than half of the room in an image."""
        room = min(shape) - 2 * self.margin - self.placement.cluster
        for _, excess in known_numbers(excess=2 * self.reach - room):
            if excess > 0:
                raise DistaxError(
                    f"targets may move {self.reach:.2f} px in {self.frames} frames, more than half "
                    f"of the {room:.2f} px they have; lower frames, speed, drift or acceleration"
                )

    @property
    def reach(self) -> Any:
        """Largest distance of a target from its starting position, in pixels."""
        steps = self.frames - 1
        return (self.speed + self.drift) * steps + self.acceleration * steps**2 / 2

    @property
    def frame_prior(self) -> ScenePrior:
        """Scene prior that holds in each frame of a sequence.

        Its square is large enough for the group in the last frame, and half a pixel wider on each
        side because the group need not be centred on a pixel. It has no smallest separation.
        """
        cluster = self.placement.cluster + 1.0 + 2 * self.drift * (self.frames - 1)
        return replace(self.placement, cluster=cluster, separation=0.0, border=0)


SEQCSIST = MotionPrior(placement=ScenePrior(min_targets=2, max_targets=4))
"""Prior of SeqCSIST's sequences: two to four targets as published; their motion is an assumption.

Its frames are those of CSIST-100K's sensor: σ = 0.5 px, and no noise but rounding to 8 bits.
"""


def sample(
    key: PRNGKeyArray,
    count: int,
    prior: MotionPrior = MotionPrior(),
    shape: tuple[int, int] = IMAGE_SHAPE,
) -> Targets:
    """Draws random sequences; each depends on the key and on its index alone.

    Args:
      key: random key.
      count: number of sequences.
      prior: prior of the motion.
      shape: height and width of the frames in pixels. Default: CSIST-100K's.

    Returns:
      Targets `[count, prior.frames, prior.placement.max_targets]`; a slot is the same target in
      every frame.

    Raises:
      DistaxError: `key` is no random key; the motion may exceed the space inside the margin.
    """
    check_key(key)
    check_host(prior.placement, shape)
    prior.check_room(shape)
    return _sample(key, count, prior, shape)


@partial(jax.jit, static_argnums=(1, 3))
def _sample(key: PRNGKeyArray, count: int, prior: MotionPrior, shape: tuple[int, int]) -> Targets:
    return sample_sequences(scene_keys(key, count), prior, shape)


def sample_sequences(
    keys: Key[Array, " N"], prior: MotionPrior, shape: tuple[int, int] = IMAGE_SHAPE
) -> Targets:
    """Draws a random sequence for each key, as `sample` does: targets `[N, prior.frames, K]`."""
    start_keys, motion_keys = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
    start = sample_each(start_keys, prior.placement, shape)
    displacement = jax.vmap(partial(_draw_displacements, prior=prior, shape=shape))(
        motion_keys, start
    )

    def repeat_frames(leaf: Array | np.ndarray) -> Array:
        return jnp.broadcast_to(leaf[:, None], (len(leaf), prior.frames, *leaf.shape[1:]))

    mask = repeat_frames(start.mask)
    position = jnp.where(mask[..., None], start.position[:, None] + displacement, 0.0)
    return make_targets(position, repeat_frames(start.intensity), mask)


def sample_frames(
    keys: Key[Array, " N"], prior: MotionPrior, shape: tuple[int, int] = IMAGE_SHAPE
) -> Targets:
    """Draws a random frame of a random sequence for each key: targets `[N, K]`."""
    sequence_keys, frame_keys = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
    targets = sample_sequences(sequence_keys, prior, shape)
    frame = jax.vmap(lambda key: jax.random.randint(key, (), 0, prior.frames))(frame_keys)
    return jax.tree.map(lambda leaf: leaf[jnp.arange(len(frame)), frame], targets)


def simulate(
    key: PRNGKeyArray,
    count: int,
    sensor: Sensor = Sensor(),
    prior: MotionPrior = MotionPrior(),
) -> tuple[Float[Array, "{count} {prior.frames} {sensor.height} {sensor.width}"], Targets]:
    """Simulates random sequences of exposed frames.

    Args:
      key: random key.
      count: number of sequences.
      sensor: the sensor that takes the frames.
      prior: prior of the motion.

    Returns:
      Raw frames `[count, prior.frames, height, width]` in counts, and their targets as `sample`
      returns them.

    Raises:
      DistaxError: `key` is no random key; the motion may exceed the space inside the margin.
    """
    check_key(key)
    sequence_key, noise_key = jax.random.split(key)
    targets = sample(sequence_key, count, prior, sensor.shape)
    return _expose_frames(noise_key, targets, sensor), targets


@jax.jit
def _expose_frames(
    key: PRNGKeyArray, targets: Targets, sensor: Sensor
) -> Float[Array, "N T {sensor.height} {sensor.width}"]:
    return expose(key, render(targets, sensor), sensor)


def _draw_displacements(
    key: Key[Array, ""], start: Targets, prior: MotionPrior, shape: tuple[int, int]
) -> Float[Array, "T K 2"]:
    """Draws displacements from the first frame by rejection, for the targets of one sequence."""
    time = jnp.arange(prior.frames, dtype=float)[:, None, None]
    low = prior.margin - 0.5
    high = jnp.array(shape) - 0.5 - prior.margin

    def draw(key: Key[Array, ""]) -> Float[Array, "T K 2"]:
        group, acceleration, *own = _sample_unit_disc(key, 2 + prior.placement.max_targets)
        velocity = prior.speed * group + prior.drift * jnp.stack(own)
        return velocity * time + prior.acceleration * acceleration * time**2 / 2

    def rejected(state: tuple[Array, Array]) -> Array:
        position = start.position + state[1]
        outside = (position < low) | (position > high)
        return jnp.any(outside & start.mask[:, None])

    def redraw(state: tuple[Array, Array]) -> tuple[Array, Array]:
        key, draw_key = jax.random.split(state[0])
        return key, draw(draw_key)

    return jax.lax.while_loop(rejected, redraw, redraw((key, jnp.zeros(()))))[1]


def _sample_unit_disc(key: Key[Array, ""], count: int) -> Float[Array, "{count} 2"]:
    """Draws points uniformly from the unit disc."""
    radius_key, angle_key = jax.random.split(key)
    radius = jnp.sqrt(jax.random.uniform(radius_key, (count, 1)))
    angle = jax.random.uniform(angle_key, (count, 1), maxval=2 * jnp.pi)
    return radius * jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=-1)
