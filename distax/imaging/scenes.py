"""Random scenes: their prior, and its samples, drawn on the device. Default: CSIST-100K's prior."""

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray

from distax.imaging.checks import check_single
from distax.imaging.forward import render
from distax.imaging.sensor import Sensor, expose
from distax.imaging.targets import Targets, make_targets
from distax.runtime.errors import (
    DistaxError,
    check_not_negative,
    check_positive,
    check_whole,
    shown,
)
from distax.runtime.numerics import check_key, threefry
from distax.runtime.pytree import known_numbers, pytree, traced_numbers

RAYLEIGH = 1.22
"""Rayleigh unit in standard deviations of the PSF."""
IMAGE_SHAPE = Sensor().shape
"""Height and width in pixels of CSIST-100K's images."""
_QUEUE = 16
"""Scenes in a queue, which are placed one after the other. Longer queues waste fewer draws. Shorter
queues place more scenes in parallel."""
_LEAST_KEPT = 1e-3
"""If a smaller share of random arrangements keeps the distance, the prior is refused. A smaller
limit would allow priors whose rejection sampling takes too long."""


@traced_numbers("min_targets", "max_targets", "border")
@dataclass(frozen=True)
class ScenePrior:
    """The prior of scenes: number, positions and intensities of targets. Default: CSIST-100K's.

    The number of targets is uniform between its bounds. All targets lie in one square of side
    `cluster` centred on a host pixel. Their arrangement is uniform among those in which no two
    targets are closer than `min_distance`. Intensities are uniform between their bounds. The
    dataset's paper states neither the Rayleigh unit nor where the host pixel may be, so
    `rayleigh_unit` and `border` are assumptions.

    It is a pytree. JAX traces its numbers. The numbers of targets and the border are its structure.

    Attributes:
      min_targets, max_targets: bounds of the number of targets, both included.
      min_intensity, max_intensity: bounds of a target's total flux in counts.
      separation: smallest distance between two targets, in Rayleigh units.
      rayleigh_unit: pixels per Rayleigh unit; 1.22 σ for σ = 0.5 px.
      cluster: side in pixels of the square that holds a scene's targets.
      border: width in pixels of the strip along each edge of the image that never holds the host.

    Raises:
      DistaxError: a number is not finite, or a count is not whole; bounds are reversed or not
        positive; the targets cannot keep their distance in the square.
    """

    min_targets: int = 1
    max_targets: int = 5
    min_intensity: float = 220.0
    max_intensity: float = 250.0
    separation: float = 0.52
    rayleigh_unit: float = RAYLEIGH / 2
    cluster: float = 1.0
    border: int = 1

    def __post_init__(self) -> None:
        positive = (
            *("min_targets", "max_targets", "min_intensity", "max_intensity"),
            *("rayleigh_unit", "cluster"),
        )
        for name, value in known_numbers(**{name: getattr(self, name) for name in positive}):
            check_positive(**{name: value})
        for name, value in known_numbers(separation=self.separation, border=self.border):
            check_not_negative(**{name: value})
        for what in ("targets", "intensity"):
            low, high = (getattr(self, f"{bound}_{what}") for bound in ("min", "max"))
            if any(room < 0 for _, room in known_numbers(room=high - low)):
                raise DistaxError(
                    f"max_{what} lies below min_{what}: {shown(high)} < {shown(low)}; give both"
                )
        self._check_room()

    def _check_room(self) -> None:
        """Raises DistaxError if hardly any arrangement of `max_targets` keeps the distance.

        The probability that a pair is too close is exact: it is the distribution function of the
        distance between two random points in a square. The estimate then takes pairs as
        independent, which they are not. At the defaults it is 7%, and the true share is 5%.
        """
        for _, ratio in known_numbers(ratio=self.min_distance / self.cluster):
            t = min(ratio, 1.0)
            too_close = math.pi * t**2 - 8 / 3 * t**3 + t**4 / 2
            if (1 - too_close) ** math.comb(self.max_targets, 2) < _LEAST_KEPT:
                raise DistaxError(
                    f"{self.max_targets} targets at least {self.min_distance:.3f} px apart do not "
                    f"fit a square of {self.cluster} px; raise cluster or lower max_targets"
                )

    @property
    def min_distance(self) -> Any:
        """Smallest distance between two targets in pixels."""
        return self.separation * self.rayleigh_unit


def sample(
    key: PRNGKeyArray,
    count: int,
    prior: ScenePrior = ScenePrior(),
    shape: tuple[int, int] = IMAGE_SHAPE,
) -> Targets:
    """Samples random scenes. Each scene depends on `key` and its index alone.

    Args:
      key: random key.
      count: number of scenes.
      prior: the scenes' prior.
      shape: height and width in pixels of the scenes' images. Default: CSIST-100K's.

    Returns:
      Targets `[count, prior.max_targets]`.

    Raises:
      DistaxError: `key` is no random key; `count` is no number of scenes; the prior's border leaves
        no host pixel in the image.
    """
    check_key(key)
    check_single(prior)
    check_host(prior, shape)
    return _sample(key, count, prior, shape)


def check_host(prior: ScenePrior, shape: tuple[int, int]) -> None:
    """Raises DistaxError if a prior's border leaves no host pixel in images of a shape."""
    if min(shape) <= 2 * prior.border:
        raise DistaxError(
            f"a border of {prior.border} px leaves no host pixel in an image of "
            f"{shape[0]}×{shape[1]} px"
        )


@partial(jax.jit, static_argnums=(1, 3))
def _sample(key: PRNGKeyArray, count: int, prior: ScenePrior, shape: tuple[int, int]) -> Targets:
    return sample_each(scene_keys(key, count), prior, shape)


def scene_keys(key: PRNGKeyArray, count: int) -> Key[Array, " {count}"]:
    """Splits a key into one key for each scene that `sample` draws."""
    check_whole(count=count)
    check_not_negative(count=count)
    return jax.random.split(threefry(key), count)


def sample_each(
    keys: Key[Array, " N"],
    prior: ScenePrior,
    shape: tuple[int, int] = IMAGE_SHAPE,
    counts: Int[Array, " N"] | None = None,
) -> Targets:
    """Samples a random scene for each key: targets `[N, prior.max_targets]`.

    A scene depends on its own key alone.

    Args:
      keys: a random key for each scene.
      prior: the scenes' prior.
      shape: height and width in pixels of the scenes' images.
      counts: number of targets in each scene. Default: drawn from the prior.
    """
    drafts = jax.vmap(lambda key, count: _draft(key, prior, shape, count))(keys, counts)
    position = _place(drafts, prior)
    return make_targets(
        jnp.where(drafts.mask[..., None], position, 0.0),
        jnp.where(drafts.mask, drafts.intensity, 0.0),
        drafts.mask,
    )


@partial(jax.jit, static_argnums=1)
def sample_around_origin(key: PRNGKeyArray, count: int, prior: ScenePrior) -> Targets:
    """Samples scenes whose host pixel is (0, 0): positions are offsets from the host's centre."""
    return sample_each(scene_keys(key, count), replace(prior, border=0), (1, 1))


@partial(jax.jit, static_argnums=1)
def sample_of_each_number(key: PRNGKeyArray, count: int, prior: ScenePrior) -> Targets:
    """Samples `count` scenes of each number of targets, as `sample_around_origin` does.

    Args:
      key: random key, the same for all numbers of targets.
      count: number of scenes of each number of targets.
      prior: the scenes' prior.

    Returns:
      Targets `[numbers * count, prior.max_targets]`, those with the fewest targets first.
    """
    numbers = jnp.arange(prior.min_targets, prior.max_targets + 1)
    keys = jnp.tile(scene_keys(key, count), len(numbers))
    return sample_each(keys, replace(prior, border=0), (1, 1), jnp.repeat(numbers, count))


def simulate(
    key: PRNGKeyArray,
    count: int,
    sensor: Sensor = Sensor(),
    prior: ScenePrior = ScenePrior(),
) -> tuple[Float[Array, "{count} {sensor.height} {sensor.width}"], Targets]:
    """Simulates images of random scenes as the sensor delivers them.

    Args:
      key: random key.
      count: number of scenes.
      sensor: the sensor.
      prior: the scenes' prior.

    Returns:
      Images `[count, height, width]` in counts, and their targets.

    Raises:
      DistaxError: `key` is no random key; `count` is no number of scenes; the prior's border leaves
        no host pixel in the image.
    """
    check_key(key)
    check_single(sensor, prior)
    check_host(prior, sensor.shape)
    return _simulate(key, count, sensor, prior)


# JAX compiles a call that leaves out an argument separately from one that passes the same value. So
# the public functions fill in the defaults and call jitted functions that have none.
@partial(jax.jit, static_argnums=1)
def _simulate(
    key: PRNGKeyArray, count: int, sensor: Sensor, prior: ScenePrior
) -> tuple[Float[Array, "{count} {sensor.height} {sensor.width}"], Targets]:
    scene_key, noise_key = jax.random.split(key)
    targets = sample_each(scene_keys(scene_key, count), prior, sensor.shape)
    return expose(noise_key, render(targets, sensor), sensor), targets


@pytree
class _Drafts:
    """Scenes whose targets have no positions yet, and the keys that these are drawn from."""

    place_key: Key[Array, "*batch"]
    host: Int[Array, "*batch 2"]
    mask: Bool[Array, "*batch K"]
    intensity: Float[Array, "*batch K"]


def _draft(
    key: PRNGKeyArray,
    prior: ScenePrior,
    shape: tuple[int, int],
    count: Int[Array, ""] | None,
) -> _Drafts:
    count_key, host_key, place_key, intensity_key = jax.random.split(key, 4)
    if count is None:
        count = jax.random.randint(count_key, (), prior.min_targets, prior.max_targets + 1)
    mask = jnp.arange(prior.max_targets) < count
    host = jax.random.randint(host_key, (2,), prior.border, jnp.array(shape) - prior.border)
    intensity = jax.random.uniform(
        intensity_key, mask.shape, minval=prior.min_intensity, maxval=prior.max_intensity
    )
    return _Drafts(place_key=place_key, host=host, mask=mask, intensity=intensity)


def _place(drafts: _Drafts, prior: ScenePrior) -> Float[Array, "N K 2"]:
    """Places targets by rejection sampling: draws whole arrangements until one keeps the distance.

    A scene of one target needs one draw. A scene of five needs twenty on average, and some need two
    hundred. Drawing for all scenes until the last one is placed would waste most draws. So the
    scenes are divided into queues, and each round draws for the first unplaced scene of each queue.
    """
    count = len(drafts.mask)
    if count == 0:
        return jnp.zeros((0, prior.max_targets, 2))
    length = min(_QUEUE, count)
    index = jnp.arange(-(-count // length) * length).reshape(-1, length) % count
    queues = jax.tree.map(lambda leaf: leaf[index], drafts)
    lanes = jnp.arange(len(index))

    def first(leaf: Array, head: Int[Array, " lanes"]) -> Array:
        return leaf[lanes, jnp.minimum(head, length - 1)]

    def unfinished(state: tuple[Array, Array, Array]) -> Bool[Array, ""]:
        return jnp.any(state[0] < length)

    def draw(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        head, key, placed = state
        key, draw_key = jnp.moveaxis(jax.vmap(jax.random.split)(key), 1, 0)
        offset = jax.vmap(
            lambda key: jax.random.uniform(key, (prior.max_targets, 2), minval=-0.5, maxval=0.5)
        )(draw_key)
        position = first(queues.host, head)[:, None] + prior.cluster * offset
        distances = jax.vmap(_pair_distances)(position, first(queues.mask, head))
        done = jnp.all(distances >= prior.min_distance, axis=-1)
        # Every draw overwrites the one before. The last one written keeps the distance, because
        # `head` then moves on to the next scene.
        placed = placed.at[lanes, head].set(position, mode="drop")
        head += done
        return head, jnp.where(done, first(queues.place_key, head), key), placed

    start = jnp.zeros(len(lanes), jnp.int32)
    placed = jnp.zeros((*index.shape, prior.max_targets, 2))
    state = start, first(queues.place_key, start), placed
    placed = jax.lax.while_loop(unfinished, draw, state)[2]
    return placed.reshape(-1, prior.max_targets, 2)[:count]


def _pair_distances(
    position: Float[Array, "K 2"], mask: Bool[Array, " K"]
) -> Float[Array, " pairs"]:
    """Returns the distances of all pairs of targets; infinite for pairs with padding."""
    first, second = jnp.triu_indices(len(mask), k=1)
    distance = jnp.linalg.norm(position[first] - position[second], axis=-1)
    return jnp.where(mask[first] & mask[second], distance, jnp.inf)
