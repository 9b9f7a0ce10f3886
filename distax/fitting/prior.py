"""The placement law as a prior: draws to start from, and what it allows."""

from dataclasses import replace
from functools import lru_cache

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distax.fitting.likelihood import relative_noise
from distax.fitting.patch import Patch
from distax.imaging.scenes import PlacementLaw, sample

_NEIGHBOUR_SHARE = 0.5
"""Share of starting scenes in one of the eight pixels around the central one."""


@lru_cache(maxsize=32)
def starting_scenes(law: PlacementLaw, count: int, size: int) -> Float[Array, "count 3 size"]:
    """Scenes of `count` targets from the prior, the same for every image.

    The host is the window's central pixel or, as noise may have shifted the centroid, one of its
    neighbours.
    """
    with jax.ensure_compile_time_eval():
        scene_key, host_key = jax.random.split(jax.random.key(0))
        around = replace(law.at_origin, min_targets=count, max_targets=count)
        targets = sample(scene_key, size, around)
        stays = jax.random.uniform(host_key, (size,)) >= _NEIGHBOUR_SHARE
        elsewhere = jnp.array([0, 1, 2, 3, 5, 6, 7, 8])[jnp.arange(size) % 8]
        host = jnp.where(stays, 4, elsewhere)
        offset = jnp.stack([host // 3 - 1, host % 3 - 1], axis=-1)
        scenes = jnp.concatenate(
            [targets.position + offset[:, None], targets.intensity[..., None]], axis=-1
        )
        return jnp.moveaxis(scenes, 0, -1)


def log_prior(
    scene: Float[Array, "K 3 lanes"], patch: Patch, law: PlacementLaw
) -> Float[Array, " lanes"]:
    """Logarithm of the law's density up to a constant; -inf where the law rules a scene out."""
    low, high = host_range(scene, patch, law)
    hosts = jnp.prod(jnp.maximum(high - low + 1.0, 0.0), axis=0)
    intensity, (dimmest, brightest) = scene[:, 2], intensity_bounds(law)
    allowed = jnp.all((intensity >= dimmest) & (intensity <= brightest), axis=0)
    for step in steps_between(scene):
        allowed &= jnp.sum(step**2, axis=0) >= law.min_distance**2
    return jnp.where(allowed, jnp.log(hosts), -jnp.inf)


def steps_between(scene: Float[Array, "K 3 lanes"]) -> list[Float[Array, "2 lanes"]]:
    """Rows and columns in pixels between the two targets of every pair."""
    return [scene[k, :2] - scene[other, :2] for k in range(len(scene)) for other in range(k)]


def host_range(
    scene: Float[Array, "K 3 lanes"], patch: Patch, law: PlacementLaw
) -> tuple[Float[Array, "2 lanes"], Float[Array, "2 lanes"]]:
    """First and last host pixel, from the window's centre, whose square holds all targets."""
    size = jnp.array([[law.height], [law.width]])
    first = law.border - patch.origin
    last = size - 1 - law.border - patch.origin
    position, reach = scene[:, :2], law.cluster / 2
    low = jnp.maximum(jnp.ceil(jnp.max(position, axis=0) - reach), first)
    high = jnp.minimum(jnp.floor(jnp.min(position, axis=0) + reach), last)
    return low, high


def prior_precision(law: PlacementLaw, count: int) -> Float[Array, " parameters"]:
    """Precisions of a Gaussian as wide as the freedom that the law leaves each parameter.

    Targets that keep their distance in a small square have far less room than the square; a
    twelfth of its side was found to suit the sampler.
    """
    spread = law.cluster / 12
    precision = jnp.array([spread**-2, spread**-2, 12 / intensity_range(law) ** 2])
    return jnp.tile(precision, count)


def freedom(patch: Patch, law: PlacementLaw, count: int) -> Float[Array, " D"]:
    """The law's precisions, weaker where noise leaves scenes more room."""
    return prior_precision(law, count) / jnp.sqrt(relative_noise(patch))


def intensity_bounds(law: PlacementLaw) -> tuple[float, float]:
    """The least and the largest of the law's intensities in counts, `intensity_range` apart."""
    middle, half = (law.min_intensity + law.max_intensity) / 2, intensity_range(law) / 2
    return middle - half, middle + half


def intensity_range(law: PlacementLaw) -> float:
    """Width in counts of the law's intensities, or next to nothing where it is zero."""
    return max(law.max_intensity - law.min_intensity, 1e-3 * law.max_intensity)
