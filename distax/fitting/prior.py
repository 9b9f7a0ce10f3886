"""Scene prior as the fits use it: starting scenes, log density, and precisions."""

from dataclasses import replace
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from distax.fitting.likelihood import relative_noise
from distax.fitting.patch import Patch
from distax.imaging.scenes import ScenePrior, sample_of_each_number

_NEIGHBOUR_SHARE = 0.5
"""Share of starting scenes around one of the eight neighbours of the central pixel. Noise sometimes
moves the centroid to a neighbour. A larger share leaves fewer starts around the central pixel,
where targets usually are."""
_NARROWEST = 1e-3
"""Smallest width of the range of intensities, relative to the largest intensity. A known intensity
would otherwise have an infinite precision. A larger width lets a known intensity vary."""
_ROOM = 1 / 12
"""Standard deviation of a position in the proposal's prior, as a share of the cluster's side.
Targets that keep their distance have far less room than the square. A larger share proposes more
scenes that are rejected, a smaller one moves scenes less. A twelfth was found to suit the
sampler."""


def starting_scenes(prior: ScenePrior, count: int, size: int) -> Float[Array, "{count} 3 {size}"]:
    """Samples scenes of `count` targets from the prior; the same scenes serve every image.

    The host is the window's central pixel or one of its neighbours, because noise may have moved
    the centroid.

    Args:
      prior: the scenes' prior.
      count: number of targets in each scene.
      size: number of scenes.
    """
    if not prior.min_targets <= count <= prior.max_targets:
        prior = replace(prior, min_targets=count, max_targets=count)
    return jnp.asarray(all_starting_scenes(prior, size)[count - prior.min_targets, :count])


def all_starting_scenes(
    prior: ScenePrior, size: int
) -> Float[Array | np.ndarray, "numbers K 3 {size}"]:
    """Samples `starting_scenes` of each number of targets that the prior allows, in rising order.

    One program samples all of them. Slots of targets that a scene does not have repeat the position
    of its first target, and have no intensity.

    Args:
      prior: the scenes' prior, with K = `max_targets`.
      size: number of scenes of each number of targets.
    """
    if any(not isinstance(leaf, float) for leaf in jax.tree.leaves(prior)):
        return _sample_starting_scenes(prior, size)
    return _cached_starting_scenes(prior, size)


@lru_cache(maxsize=64)
def _cached_starting_scenes(prior: ScenePrior, size: int) -> Float[np.ndarray, "numbers K 3 _"]:
    # The program is compiled and called here and now, even while another function is traced. The
    # scenes enter that function's program as constants. It runs once, in milliseconds, so the
    # compiler need not optimise it.
    program = _sample_starting_scenes.lower(prior, size)
    quickly: dict[str, str | bool] = {"xla_backend_optimization_level": "0"}
    return np.asarray(program.compile(quickly)(prior))


@partial(jax.jit, static_argnames="size")
def _sample_starting_scenes(prior: ScenePrior, size: int) -> Float[Array, "numbers K 3 {size}"]:
    scene_key, host_key = jax.random.split(jax.random.key(0))
    targets = sample_of_each_number(scene_key, size, prior)
    stays = jax.random.uniform(host_key, (size,)) >= _NEIGHBOUR_SHARE
    elsewhere = jnp.array([0, 1, 2, 3, 5, 6, 7, 8])[jnp.arange(size) % 8]
    host = jnp.where(stays, 4, elsewhere)
    offset = jnp.stack([host // 3 - 1, host % 3 - 1], axis=-1)
    position = jnp.where(targets.mask[..., None], targets.position, targets.position[:, :1])
    scenes = jnp.concatenate([position, targets.intensity[..., None]], axis=-1)
    scenes = scenes.reshape(-1, size, *scenes.shape[1:])
    scenes = scenes.at[..., :2].add(offset[:, None])
    return jnp.moveaxis(scenes, 1, -1)


def log_prior(
    scene: Float[Array, "K 3 lanes"], patch: Patch, prior: ScenePrior
) -> Float[Array, " lanes"]:
    """Computes the logarithm of the prior density up to a constant.

    The prior draws the host pixel uniformly, then the targets uniformly in its square. So the
    density is proportional to the number of host pixels whose square holds all targets. The result
    is -inf for scenes that the prior excludes.
    """
    low, high = host_range(scene, patch, prior)
    hosts = jnp.prod(jnp.maximum(high - low + 1.0, 0.0), axis=0)
    intensity, (dimmest, brightest) = scene[:, 2], intensity_bounds(prior)
    allowed = jnp.all((intensity >= dimmest) & (intensity <= brightest), axis=0)
    for step in pair_steps(scene):
        allowed &= jnp.sum(step**2, axis=0) >= prior.min_distance**2
    return jnp.where(allowed, jnp.log(hosts), -jnp.inf)


def pair_steps(scene: Float[Array, "K 3 lanes"]) -> list[Float[Array, "2 lanes"]]:
    """Returns the difference in row and column between the two targets of every pair, in pixels."""
    return [scene[k, :2] - scene[other, :2] for k in range(len(scene)) for other in range(k)]


def image_hosts(
    patch: Patch, prior: ScenePrior
) -> tuple[Int[Array, "2 lanes"], Int[Array, "2 lanes"]]:
    """Returns the first and the last host pixel of the image, counted as by `host_range`."""
    return prior.border - patch.origin, patch.size - 1 - prior.border - patch.origin


def host_range(
    scene: Float[Array, "K 3 lanes"], patch: Patch, prior: ScenePrior
) -> tuple[Float[Array, "2 lanes"], Float[Array, "2 lanes"]]:
    """Returns the first and the last host pixel whose square holds all targets.

    Rows and columns are counted from the window's central pixel.
    """
    first, last = image_hosts(patch, prior)
    position, reach = scene[:, :2], prior.cluster / 2
    low = jnp.maximum(jnp.ceil(jnp.max(position, axis=0) - reach), first)
    high = jnp.minimum(jnp.floor(jnp.min(position, axis=0) + reach), last)
    return low, high


def proposal_precision(patch: Patch, prior: ScenePrior, count: int) -> Float[Array, " D"]:
    """Returns the precisions that a proposal adds to those of the pixels, in 1/(px or counts)².

    They are the precisions of Gaussians as wide as the room that the prior leaves a target. Under
    larger noise scenes have more room, so the precisions are smaller.
    """
    spread = prior.cluster * _ROOM
    precision = jnp.array([spread**-2, spread**-2, 12 / intensity_range(prior) ** 2])
    return jnp.tile(precision, count) / jnp.sqrt(relative_noise(patch))


def intensity_bounds(prior: ScenePrior) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Returns the smallest and the largest intensity in counts, `intensity_range` apart."""
    middle, half = (prior.min_intensity + prior.max_intensity) / 2, intensity_range(prior) / 2
    return middle - half, middle + half


def intensity_range(prior: ScenePrior) -> Float[Array, ""]:
    """Returns the width of the prior's range of intensities in counts, never zero."""
    return jnp.maximum(prior.max_intensity - prior.min_intensity, _NARROWEST * prior.max_intensity)
