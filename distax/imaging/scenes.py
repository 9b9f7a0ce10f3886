"""Random scenes, sampled on the device from a key; CSIST-100K's prior is the default."""

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray

from distax.imaging.forward import render
from distax.imaging.sensor import Sensor, expose
from distax.imaging.targets import Targets, make_targets
from distax.runtime.errors import (
    DistaxError,
    check_finite,
    check_not_negative,
    check_positive,
    check_whole,
)
from distax.runtime.numerics import threefry
from distax.runtime.pytree import known_numbers, pytree, traced_numbers

RAYLEIGH = 1.22
"""Rayleigh unit in standard deviations of the PSF."""
IMAGE_SHAPE = Sensor().shape
"""Height and width in pixels of CSIST-100K's images."""
_QUEUE = 16
"""Scenes that wait for one another to be placed. Longer queues waste fewer draws and run less in
parallel."""
_LEAST_KEPT = 1e-3
"""Share of random arrangements that must keep the distance. Fewer take too long to wait for one."""


@traced_numbers("min_targets", "max_targets", "border")
@dataclass(frozen=True)
class ScenePrior:
    """The prior of scenes: how many targets, where they lie, how bright they are.

    Default: CSIST-100K's. The number of targets is uniform between its bounds. All targets lie in
    one square of side `cluster` centred on a host pixel, uniformly among the arrangements in which
    no two are closer than `min_distance`. Intensities are uniform between their bounds. The
    dataset's paper states neither the Rayleigh unit nor where the host pixel may be, so
    `rayleigh_unit` and `border` are assumptions.

    A pytree: JAX traces its numbers, while the numbers of targets and the border are its structure.

    Attributes:
      min_targets, max_targets: bounds of the number of targets, both included.
      min_intensity, max_intensity: bounds of a target's total flux in counts.
      separation: smallest distance between two targets, in Rayleigh units.
      rayleigh_unit: pixels per Rayleigh unit; 1.22 σ for σ = 0.5 px.
      cluster: side in pixels of the square that holds a scene's targets.
      border: pixels along each edge of the image that are never the host.

    Raises:
      DistaxError: numbers that are not finite, or not whole where they count; bounds that are
        reversed or not positive; more targets than keep their distance in the square.
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
        for name in ("min_targets", "max_targets", "border"):
            check_whole(**{name: getattr(self, name)})
        numbers = ("min_intensity", "max_intensity", "separation", "rayleigh_unit", "cluster")
        for name, value in known_numbers(**{name: getattr(self, name) for name in numbers}):
            check_finite(**{name: value})
        positive = ("min_targets", "min_intensity", "rayleigh_unit", "cluster")
        for name, value in known_numbers(**{name: getattr(self, name) for name in positive}):
            check_positive(**{name: value})
        for name, value in known_numbers(separation=self.separation, border=self.border):
            check_not_negative(**{name: value})
        above = known_numbers(range=self.max_intensity - self.min_intensity)
        if self.max_targets < self.min_targets or any(value < 0 for _, value in above):
            raise DistaxError("an upper bound of the scene prior lies below its lower bound")
        self._check_room()

    def _check_room(self) -> None:
        """Raises DistaxError if hardly any arrangement of the most targets keeps the distance.

        The share of pairs that are too close is exact for one pair. Pairs are not independent, so
        somewhat fewer arrangements are kept than this says: 5% at the defaults, not 7%.
        """
        for _, ratio in known_numbers(ratio=self.min_distance / self.cluster):
            t = min(ratio, 1.0)
            too_close = math.pi * t**2 - 8 / 3 * t**3 + t**4 / 2
            if (1 - too_close) ** math.comb(self.max_targets, 2) < _LEAST_KEPT:
                raise DistaxError(
                    f"{self.max_targets} targets at least {self.min_distance:.3f} px apart do not "
                    f"fit a square of {self.cluster} px; lower max_targets or separation, or raise "
                    "cluster"
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
    """Samples random scenes, each a function of `key` and its index alone.

    Args:
      key: random key.
      count: number of scenes.
      prior: their distribution.
      shape: height and width in pixels of the scenes' images. Default: CSIST-100K's.

    Returns:
      Targets `[count, prior.max_targets]`.

    Raises:
      DistaxError: the prior's border leaves no host pixel in the image.
    """
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
    """Splits a key into those of the scenes that `sample` makes of it."""
    return jax.random.split(threefry(key), count)


def sample_each(
    keys: Key[Array, " N"], prior: ScenePrior, shape: tuple[int, int] = IMAGE_SHAPE
) -> Targets:
    """Samples a random scene for each key, whatever the others are: `[N, prior.max_targets]`."""
    drafts = jax.vmap(lambda key: _draft(key, prior, shape))(keys)
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


def simulate(
    key: PRNGKeyArray,
    count: int,
    sensor: Sensor = Sensor(),
    prior: ScenePrior = ScenePrior(),
) -> tuple[Float[Array, "{count} {sensor.height} {sensor.width}"], Targets]:
    """Simulates random scenes as the sensor delivers them, and returns their targets as well.

    Args:
      key: random key.
      count: number of scenes.
      sensor: the camera; images `[count, height, width]` in counts have its size.
      prior: distribution of the scenes.

    Raises:
      DistaxError: the prior's border leaves no host pixel in the image.
    """
    check_host(prior, sensor.shape)
    return _simulate(key, count, sensor, prior)


# Arguments that are left out would compile another program than the same values given: hence
# functions of their own.
@partial(jax.jit, static_argnums=1)
def _simulate(
    key: PRNGKeyArray, count: int, sensor: Sensor, prior: ScenePrior
) -> tuple[Float[Array, "{count} {sensor.height} {sensor.width}"], Targets]:
    scene_key, noise_key = jax.random.split(key)
    targets = sample_each(scene_keys(scene_key, count), prior, sensor.shape)
    return expose(noise_key, render(targets, sensor), sensor), targets


@pytree
class _Drafts:
    """Scenes whose targets have no places yet, and the keys to find them by."""

    place_key: Key[Array, "*batch"]
    host: Int[Array, "*batch 2"]
    mask: Bool[Array, "*batch K"]
    intensity: Float[Array, "*batch K"]


def _draft(key: PRNGKeyArray, prior: ScenePrior, shape: tuple[int, int]) -> _Drafts:
    count_key, host_key, place_key, intensity_key = jax.random.split(key, 4)
    count = jax.random.randint(count_key, (), prior.min_targets, prior.max_targets + 1)
    mask = jnp.arange(prior.max_targets) < count
    host = jax.random.randint(host_key, (2,), prior.border, jnp.array(shape) - prior.border)
    intensity = jax.random.uniform(
        intensity_key, mask.shape, minval=prior.min_intensity, maxval=prior.max_intensity
    )
    return _Drafts(place_key=place_key, host=host, mask=mask, intensity=intensity)


def _place(drafts: _Drafts, prior: ScenePrior) -> Float[Array, "N K 2"]:
    """Places targets by rejection: whole arrangements are drawn until one keeps the distance.

    A scene of five targets needs twenty draws on average and some need two hundred, one of one
    target needs one. So the scenes are dealt into queues and each round draws for the first
    unplaced scene of every queue, rather than for all scenes until the last is placed.
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
        # The last arrangement written is the one that keeps the distance.
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
