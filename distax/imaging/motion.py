"""Random sequences: groups of targets that move through the frames of a staring sensor."""

from dataclasses import dataclass, field, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PRNGKeyArray

from distax.imaging.scenes import ScenePrior, sample_each, scene_keys
from distax.imaging.sensor import Sensor, expose, render
from distax.imaging.targets import Targets, make_targets
from distax.runtime.errors import DistaxError, check_not_negative, check_positive


@dataclass(frozen=True)
class MotionPrior:
    """How the targets of a sequence move; where they start, `placement` says.

    The group has one velocity and one acceleration, and each target a velocity of its own beside
    the group's, all constant and uniform over discs. So targets share a host pixel in the first
    frame only, and may pass each other: the scene prior's separation holds there alone. Of all
    such motions only those occur in which no target comes nearer to the image's edge than `margin`
    in any frame. Intensities do not change.

    SeqCSIST (arXiv:2507.09556) publishes 5,000 trajectories of 20 frames of 11×11 px, with
    CSIST-100K's annotations. Speeds and what happens near the edge are not published: all motion
    here is an assumption.

    Attributes:
      placement: number, places in the first frame, and intensities of the targets.
      frames: length of a sequence.
      speed: largest speed of the group in px per frame, at the first frame.
      drift: largest speed of a target relative to the group in px per frame.
      acceleration: largest acceleration of the group in px per frame².
      margin: least distance in px of any target from the image's edge.

    Raises:
      DistaxError: no frames, a negative limit, a start nearer to the edge than the margin, or
        motions so large that a group might have nowhere to go.
    """

    placement: ScenePrior = field(default_factory=ScenePrior)
    frames: int = 20
    speed: float = 0.2
    drift: float = 0.02
    acceleration: float = 0.0
    margin: float = 0.5

    def __post_init__(self) -> None:
        check_positive(frames=self.frames)
        check_not_negative(speed=self.speed, drift=self.drift)
        check_not_negative(acceleration=self.acceleration, margin=self.margin)
        prior = self.placement
        if self.margin > prior.border + (1 - prior.cluster) / 2:
            raise DistaxError(
                f"targets may start nearer than {self.margin} px to the image's edge; lower margin "
                "or raise the scene prior's border"
            )
        room = min(prior.height, prior.width) - 2 * self.margin - prior.cluster
        if 2 * self.reach > room:
            raise DistaxError(
                f"targets may move {self.reach:.2f} px in {self.frames} frames, more than half of "
                f"the {room:.2f} px they have; lower frames, speed, drift or acceleration"
            )

    @property
    def reach(self) -> float:
        """Largest distance in px of a target from where it started."""
        steps = self.frames - 1
        return (self.speed + self.drift) * steps + self.acceleration * steps**2 / 2

    @property
    def frame_prior(self) -> ScenePrior:
        """What is known of a single frame: a scene prior that every frame obeys.

        Its square holds the group wherever it has come to, half a pixel more to each side because
        the group need not be centred on a pixel, and keeps no distance between targets.
        """
        grown = self.placement.cluster + 1.0 + 2 * self.drift * (self.frames - 1)
        return replace(self.placement, cluster=grown, separation=0.0, border=0)


@partial(jax.jit, static_argnums=(1, 2))
def sample(key: PRNGKeyArray, count: int, prior: MotionPrior = MotionPrior()) -> Targets:
    """`count` random sequences, each a function of `key` and its index alone.

    Returns:
      Targets `[count, prior.frames, prior.placement.max_targets]`; a slot is the same target in
      every frame.
    """
    start_keys, motion_keys = jnp.moveaxis(jax.vmap(jax.random.split)(scene_keys(key, count)), 1, 0)
    start = sample_each(start_keys, prior.placement)
    path = jax.vmap(partial(_path, prior=prior))(motion_keys, start)

    def through(leaf: Array | np.ndarray) -> Array:
        return jnp.broadcast_to(leaf[:, None], (count, prior.frames, *leaf.shape[1:]))

    mask = through(start.mask)
    position = jnp.where(mask[..., None], start.position[:, None] + path, 0.0)
    return make_targets(position, through(start.intensity), mask)


@partial(jax.jit, static_argnums=(1, 2, 3))
def simulate(
    key: PRNGKeyArray,
    count: int,
    sensor: Sensor = Sensor(),
    prior: MotionPrior = MotionPrior(),
) -> tuple[Float[Array, "{count} {prior.frames} {sensor.height} {sensor.width}"], Targets]:
    """`count` random sequences as the sensor delivers them, and their targets."""
    sequence_key, noise_key = jax.random.split(key)
    targets = sample(sequence_key, count, prior)
    return expose(noise_key, render(targets, sensor), sensor), targets


def _path(key: Key[Array, ""], start: Targets, prior: MotionPrior) -> Float[Array, "T K 2"]:
    """Displacements of one sequence's targets since the first frame, by rejection."""
    time = jnp.arange(prior.frames, dtype=float)[:, None, None]
    low = prior.margin - 0.5
    high = jnp.array([prior.placement.height, prior.placement.width]) - 0.5 - prior.margin

    def draw(key: Key[Array, ""]) -> Float[Array, "T K 2"]:
        group, acceleration, *own = _in_disc(key, 2 + prior.placement.max_targets)
        velocity = prior.speed * group + prior.drift * jnp.stack(own)
        return velocity * time + prior.acceleration * acceleration * time**2 / 2

    def leaves(state: tuple[Array, Array]) -> Array:
        position = start.position + state[1]
        outside = (position < low) | (position > high)
        return jnp.any(outside & start.mask[:, None])

    def again(state: tuple[Array, Array]) -> tuple[Array, Array]:
        key, draw_key = jax.random.split(state[0])
        return key, draw(draw_key)

    return jax.lax.while_loop(leaves, again, again((key, jnp.zeros(()))))[1]


def _in_disc(key: Key[Array, ""], count: int) -> Float[Array, "{count} 2"]:
    """Points uniform in the unit disc."""
    radius_key, angle_key = jax.random.split(key)
    radius = jnp.sqrt(jax.random.uniform(radius_key, (count, 1)))
    angle = jax.random.uniform(angle_key, (count, 1), maxval=2 * jnp.pi)
    return radius * jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=-1)
