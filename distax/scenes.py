"""Random scenes: CSIST-100K's placement law, sampled on the device from a key."""

import math
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from distax.errors import DistaxError, check_positive
from distax.keys import threefry
from distax.sensor import Sensor, expose, render
from distax.targets import Targets, make_targets


@dataclass(frozen=True)
class PlacementLaw:
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
      DistaxError: bounds that are reversed or not positive, no pixel left inside the border, or
        so many targets so far apart that they do not fit the square.
    """

    height: int = 11
    width: int = 11
    min_targets: int = 1
    max_targets: int = 5
    min_intensity: float = 220.0
    max_intensity: float = 250.0
    separation: float = 0.52
    rayleigh_unit: float = 0.61
    cluster: float = 1.0
    border: int = 1

    def __post_init__(self) -> None:
        check_positive(
            min_targets=self.min_targets,
            min_intensity=self.min_intensity,
            rayleigh_unit=self.rayleigh_unit,
            cluster=self.cluster,
        )
        if not (self.separation >= 0 and self.border >= 0):
            raise DistaxError("separation and border must not be negative")
        if self.max_targets < self.min_targets or self.max_intensity < self.min_intensity:
            raise DistaxError("an upper bound of the placement law lies below its lower bound")
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


@partial(jax.jit, static_argnums=(1, 2))
def sample(key: PRNGKeyArray, count: int, law: PlacementLaw = PlacementLaw()) -> Targets:
    """`count` random scenes, each a function of `key` and its index alone.

    Returns:
      Targets `[count, law.max_targets]`.
    """
    keys = jax.random.split(threefry(key), count)
    return jax.vmap(lambda scene_key: _sample_scene(scene_key, law))(keys)


@partial(jax.jit, static_argnums=(1, 2, 3))
def simulate(
    key: PRNGKeyArray,
    count: int,
    sensor: Sensor = Sensor(),
    law: PlacementLaw = PlacementLaw(),
) -> tuple[Float[Array, "{count} {sensor.height} {sensor.width}"], Targets]:
    """`count` random scenes as the sensor delivers them, and their targets."""
    scene_key, noise_key = jax.random.split(key)
    targets = sample(scene_key, count, law)
    return expose(noise_key, render(targets, sensor), sensor), targets


def _sample_scene(key: PRNGKeyArray, law: PlacementLaw) -> Targets:
    count_key, host_key, place_key, intensity_key = jax.random.split(key, 4)
    count = jax.random.randint(count_key, (), law.min_targets, law.max_targets + 1)
    mask = jnp.arange(law.max_targets) < count
    size = jnp.array([law.height, law.width])
    host = jax.random.randint(host_key, (2,), law.border, size - law.border)
    position = _place(place_key, host, mask, law)
    intensity = jax.random.uniform(
        intensity_key, mask.shape, minval=law.min_intensity, maxval=law.max_intensity
    )
    return make_targets(
        jnp.where(mask[:, None], position, 0.0), jnp.where(mask, intensity, 0.0), mask
    )


def _place(
    key: PRNGKeyArray, host: Array, mask: Bool[Array, " K"], law: PlacementLaw
) -> Float[Array, "K 2"]:
    """Rejection sampling: whole arrangements are drawn until one keeps the distance."""

    def draw(key: PRNGKeyArray) -> Float[Array, "K 2"]:
        offset = jax.random.uniform(key, (law.max_targets, 2), minval=-0.5, maxval=0.5)
        return host + law.cluster * offset

    def propose(state: tuple[PRNGKeyArray, Array]) -> tuple[PRNGKeyArray, Array]:
        key, draw_key = jax.random.split(state[0])
        return key, draw(draw_key)

    def too_close(state: tuple[PRNGKeyArray, Array]) -> Bool[Array, ""]:
        return jnp.any(_pair_distances(state[1], mask) < law.min_distance)

    return jax.lax.while_loop(too_close, propose, propose((key, jnp.zeros((law.max_targets, 2)))))[
        1
    ]


def _pair_distances(
    position: Float[Array, "K 2"], mask: Bool[Array, " K"]
) -> Float[Array, " pairs"]:
    """Distances of all pairs of targets; infinite for pairs with padding."""
    first, second = jnp.triu_indices(len(mask), k=1)
    distance = jnp.linalg.norm(position[first] - position[second], axis=-1)
    return jnp.where(mask[first] & mask[second], distance, jnp.inf)
