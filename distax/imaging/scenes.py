"""Random scenes: CSIST-100K's scene prior, sampled on the device from a key."""

import math
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray

from distax.imaging.sensor import Sensor, expose, render
from distax.imaging.targets import Targets, make_targets
from distax.runtime.errors import DistaxError, check_finite, check_positive, check_whole
from distax.runtime.numerics import threefry
from distax.runtime.pytree import pytree

RAYLEIGH = 1.22
"""Rayleigh unit in standard deviations of the PSF."""
# Scenes that wait for one another to be placed: longer queues waste fewer draws and run less in
# parallel.
_QUEUE = 16


@dataclass(frozen=True)
class ScenePrior:
    """How many targets a scene has, where they lie and how bright they are.

    The defaults are CSIST-100K's. The number of targets is uniform between its bounds; all lie
    in one square the size of `cluster` centred on a host pixel, uniformly among the arrangements
    in which no two are closer than `min_distance`; intensities are uniform between their bounds.
    The dataset's paper does not state the Rayleigh unit nor where the host pixel may be, so
    `rayleigh_unit` and `border` are assumptions.

    Attributes:
      height, width: size in pixels of the image the scene is for.
      min_targets, max_targets: bounds of the number of targets, both included.
      min_intensity, max_intensity: bounds of a target's total flux in counts.
      separation: smallest distance between two targets, in Rayleigh units.
      rayleigh_unit: pixels per Rayleigh unit; 1.22 σ for σ = 0.5 px.
      cluster: side in pixels of the square that holds a scene's targets.
      border: pixels along each edge that are never the host.

    Raises:
      DistaxError: numbers that are not finite or not whole where they count, bounds that are
        reversed or not positive, no pixel left inside the border, or so many targets so far apart
        that they do not fit the square.
    """

    height: int = 11
    width: int = 11
    min_targets: int = 1
    max_targets: int = 5
    min_intensity: float = 220.0
    max_intensity: float = 250.0
    separation: float = 0.52
    rayleigh_unit: float = RAYLEIGH / 2
    cluster: float = 1.0
    border: int = 1

    def __post_init__(self) -> None:
        whole = ("height", "width", "min_targets", "max_targets", "border")
        for name, value in vars(self).items():
            (check_whole if name in whole else check_finite)(**{name: value})
        check_positive(
            min_targets=self.min_targets,
            min_intensity=self.min_intensity,
            rayleigh_unit=self.rayleigh_unit,
            cluster=self.cluster,
        )
        if not (self.separation >= 0 and self.border >= 0):
            raise DistaxError("separation and border must not be negative")
        if self.max_targets < self.min_targets or self.max_intensity < self.min_intensity:
            raise DistaxError("an upper bound of the scene prior lies below its lower bound")
        if min(self.height, self.width) <= 2 * self.border:
            raise DistaxError(f"a border of {self.border} px leaves no host pixel in the image")
        # The share of pairs that are too close is exact for one pair; pairs are not independent,
        # so the share of arrangements kept is somewhat lower than this (5% at the defaults, where
        # this says 7%). Below, too few are kept to wait for one.
        t = min(self.min_distance / self.cluster, 1.0)
        too_close = math.pi * t**2 - 8 / 3 * t**3 + t**4 / 2
        if (1 - too_close) ** math.comb(self.max_targets, 2) < 1e-3:
            raise DistaxError(
                f"{self.max_targets} targets at least {self.min_distance:.3f} px apart do not fit "
                f"a square of {self.cluster} px; lower max_targets or separation, or raise cluster"
            )

    @property
    def min_distance(self) -> float:
        """Smallest distance between two targets in pixels."""
        return self.separation * self.rayleigh_unit

    @property
    def at_origin(self) -> "ScenePrior":
        """The same for an image of one pixel, which is then the host: positions are offsets."""
        return replace(self, height=1, width=1, border=0)


@partial(jax.jit, static_argnums=(1, 2))
def sample(key: PRNGKeyArray, count: int, prior: ScenePrior = ScenePrior()) -> Targets:
    """`count` random scenes, each a function of `key` and its index alone.

    Returns:
      Targets `[count, prior.max_targets]`.
    """
    return sample_each(scene_keys(key, count), prior)


def scene_keys(key: PRNGKeyArray, count: int) -> Key[Array, " {count}"]:
    """The keys of the scenes that `sample` makes of one key."""
    return jax.random.split(threefry(key), count)


def sample_each(keys: Key[Array, " N"], prior: ScenePrior) -> Targets:
    """A random scene for each key, whatever the others are: Targets `[N, prior.max_targets]`."""
    drafts = jax.vmap(lambda key: _draft(key, prior))(keys)
    position = _place(drafts, prior)
    return make_targets(
        jnp.where(drafts.mask[..., None], position, 0.0),
        jnp.where(drafts.mask, drafts.intensity, 0.0),
        drafts.mask,
    )


@partial(jax.jit, static_argnums=(1, 2, 3))
def simulate(
    key: PRNGKeyArray,
    count: int,
    sensor: Sensor = Sensor(),
    prior: ScenePrior = ScenePrior(),
) -> tuple[Float[Array, "{count} {sensor.height} {sensor.width}"], Targets]:
    """`count` random scenes as the sensor delivers them, and their targets."""
    scene_key, noise_key = jax.random.split(key)
    targets = sample(scene_key, count, prior)
    return expose(noise_key, render(targets, sensor), sensor), targets


@pytree
class _Drafts:
    """Scenes whose targets have no places yet, and the keys to find them by."""

    place_key: Key[Array, "*batch"]
    host: Int[Array, "*batch 2"]
    mask: Bool[Array, "*batch K"]
    intensity: Float[Array, "*batch K"]


def _draft(key: PRNGKeyArray, prior: ScenePrior) -> _Drafts:
    count_key, host_key, place_key, intensity_key = jax.random.split(key, 4)
    count = jax.random.randint(count_key, (), prior.min_targets, prior.max_targets + 1)
    mask = jnp.arange(prior.max_targets) < count
    size = jnp.array([prior.height, prior.width])
    host = jax.random.randint(host_key, (2,), prior.border, size - prior.border)
    intensity = jax.random.uniform(
        intensity_key, mask.shape, minval=prior.min_intensity, maxval=prior.max_intensity
    )
    return _Drafts(place_key=place_key, host=host, mask=mask, intensity=intensity)


def _place(drafts: _Drafts, prior: ScenePrior) -> Float[Array, "N K 2"]:
    """Rejection sampling: whole arrangements are drawn until one keeps the distance.

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
    """Distances of all pairs of targets; infinite for pairs with padding."""
    first, second = jnp.triu_indices(len(mask), k=1)
    distance = jnp.linalg.norm(position[first] - position[second], axis=-1)
    return jnp.where(mask[first] & mask[second], distance, jnp.inf)
