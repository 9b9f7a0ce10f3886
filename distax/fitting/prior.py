"""The scene prior as a prior: draws to start from, and what it allows."""

from dataclasses import replace
from functools import lru_cache

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distax.fitting.likelihood import relative_noise
from distax.fitting.patch import Patch
from distax.imaging.scenes import ScenePrior, sample

_NEIGHBOUR_SHARE = 0.5
"""Share of starting scenes in one of the eight pixels around the central one."""


@lru_cache(maxsize=32)
def starting_scenes(prior: ScenePrior, count: int, size: int) -> Float[Array, "count 3 size"]:
    """Scenes of `count` targets from the prior, the same for every image.

    The host is the window's central pixel or, as noise may have shifted the centroid, one of its
    neighbours.
    """
    with jax.ensure_compile_time_eval():
        scene_key, host_key = jax.random.split(jax.random.key(0))
        around = replace(prior.at_origin, min_targets=count, max_targets=count)
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
    scene: Float[Array, "K 3 lanes"], patch: Patch, prior: ScenePrior
) -> Float[Array, " lanes"]:
    """Logarithm of the prior's density up to a constant; -inf where the prior rules a scene out."""
    low, high = host_range(scene, patch, prior)
    hosts = jnp.prod(jnp.maximum(high - low + 1.0, 0.0), axis=0)
    intensity, (dimmest, brightest) = scene[:, 2], intensity_bounds(prior)
    allowed = jnp.all((intensity >= dimmest) & (intensity <= brightest), axis=0)
    for step in steps_between(scene):
        allowed &= jnp.sum(step**2, axis=0) >= prior.min_distance**2
    return jnp.where(allowed, jnp.log(hosts), -jnp.inf)


def steps_between(scene: Float[Array, "K 3 lanes"]) -> list[Float[Array, "2 lanes"]]:
    """Rows and columns in pixels between the two targets of every pair."""
    return [scene[k, :2] - scene[other, :2] for k in range(len(scene)) for other in range(k)]


def host_range(
    scene: Float[Array, "K 3 lanes"], patch: Patch, prior: ScenePrior
) -> tuple[Float[Array, "2 lanes"], Float[Array, "2 lanes"]]:
    """First and last host pixel, from the window's centre, whose square holds all targets."""
    size = jnp.array([[prior.height], [prior.width]])
    first = prior.border - patch.origin
    last = size - 1 - prior.border - patch.origin
    position, reach = scene[:, :2], prior.cluster / 2
    low = jnp.maximum(jnp.ceil(jnp.max(position, axis=0) - reach), first)
    high = jnp.minimum(jnp.floor(jnp.min(position, axis=0) + reach), last)
    return low, high


def prior_precision(prior: ScenePrior, count: int) -> Float[Array, " parameters"]:
    """Precisions of a Gaussian as wide as the freedom that the prior leaves each parameter.

    Targets that keep their distance in a small square have far less room than the square; a
    twelfth of its side was found to suit the sampler.
    """
    spread = prior.cluster / 12
    precision = jnp.array([spread**-2, spread**-2, 12 / intensity_range(prior) ** 2])
    return jnp.tile(precision, count)


def freedom(patch: Patch, prior: ScenePrior, count: int) -> Float[Array, " D"]:
    """The prior's precisions, weaker where noise leaves scenes more room."""
    return prior_precision(prior, count) / jnp.sqrt(relative_noise(patch))


def intensity_bounds(prior: ScenePrior) -> tuple[float, float]:
    """The least and the largest of the prior's intensities in counts, `intensity_range` apart."""
    middle, half = (prior.min_intensity + prior.max_intensity) / 2, intensity_range(prior) / 2
    return middle - half, middle + half


def intensity_range(prior: ScenePrior) -> float:
    """Width in counts of the prior's intensities, or next to nothing where it is zero."""
    return max(prior.max_intensity - prior.min_intensity, 1e-3 * prior.max_intensity)
