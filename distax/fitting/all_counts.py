"""Best fits of all numbers of targets to each image, in one small program.

`candidates.best_fits` has a program for each number of targets, one after the other. Here every
scene has room for the largest number. A target that a scene does not have stands far outside of the
window, where it has no light and no derivatives. So one loop fits scenes of all numbers. Its
program compiles in less than half of the time: 6 s against 15 s on two CPU cores, for the default
prior and search. The slots without a target cost time in every call, which counts with many images.
That suits frames, which often have few blobs.
"""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from distax.fitting import solver
from distax.fitting.candidates import (
    BestFit,
    Modes,
    Search,
    best_fit,
    bounds_around,
    crowding,
    promising_starts,
)
from distax.fitting.patch import Patch, repeat_lanes
from distax.fitting.solver import Bounds
from distax.imaging.psf import Psf
from distax.imaging.scenes import ScenePrior
from distax.runtime.batching import inference_batch
from distax.runtime.platforms import default_platform

_AWAY = 1e3
"""Distance in pixels from the window to the first target that a scene does not have, and between
two such targets. Farther away float32 would not resolve their bounds. Nearer, a wide PSF would
bring their light into the window."""
_UNIT_PRECISION = math.sqrt(3)
"""Half the width of bounds that give a prior of precision 1, which leaves the evidence as it is."""
_CPU_IMAGES, _CPU_DERIVATIVES = 4, 2**22
"""Most images and most derivatives in a batch on a CPU. More images leave its cache and pad frames
of few blobs, fewer use its vector units less. The derivatives are a bound for huge windows."""
_MOST_DERIVATIVES = 2**28
"""Most derivatives in a batch on an accelerator, a gigabyte. More take more memory."""

Pools = Float[Array | np.ndarray, "numbers K 3 pool"]
"""Scenes that fits start from, for each number of targets; see `prior.all_starting_scenes`."""


def best_fits_together(
    patch: Patch, pools: Pools, prior: ScenePrior, search: Search, psf: Psf
) -> list[BestFit]:
    """Returns the best fit of each number of targets to each image, in rising order.

    All fits have K = `prior.max_targets` slots. The slots beyond the number of targets hold no
    target: their intensity is zero and their covariance the identity.

    Args:
      patch: the pixels.
      pools: scenes to start from.
      prior: the scenes' prior.
      search: sizes for the cluster; see `Search.over`.
      psf: the sensor's PSF.
    """
    numbers, slots, images = len(pools), pools.shape[1], patch.counts.shape[-1]
    each = numbers * search.starts
    # One number after the other, so that memory does not grow with their number.
    starts = jax.lax.map(
        lambda pool: promising_starts(patch, pool, search.starts, psf), jnp.asarray(pools)
    )
    by_image = starts.reshape(numbers, slots, 3, images, search.starts)
    starts = by_image.transpose(1, 2, 3, 0, 4).reshape(slots, 3, -1)
    count = jnp.arange(prior.min_targets, prior.max_targets + 1)
    real = jnp.arange(slots)[:, None] < jnp.tile(jnp.repeat(count, search.starts), images)
    repeated = repeat_lanes(patch, each)
    bounds = bounds_around(starts, repeated, prior)
    away = jnp.zeros((slots, 3, 1)).at[:, 0, 0].set(_AWAY * jnp.arange(1, slots + 1))

    def with_others_away(scenes: Array, offset: float) -> Float[Array, "K 3 lanes"]:
        return jnp.where(real[:, None], scenes, away + offset)

    bounds = Bounds(
        lower=with_others_away(bounds.lower, -_UNIT_PRECISION),
        upper=with_others_away(bounds.upper, _UNIT_PRECISION),
    )
    fit = solver.fit(with_others_away(starts, 0.0), repeated, bounds, psf, search.steps)
    best = best_fit(
        Modes(fit=fit, bounds=bounds, crowding=crowding(fit.scene, prior)), search.starts
    )
    return [
        _of_count(
            jax.tree.map(lambda leaf, k=k: leaf[..., k::numbers], best), prior.min_targets + k
        )
        for k in range(numbers)
    ]


def _of_count(best: BestFit, count: int) -> BestFit:
    """Corrects the evidence for the orders of `count` targets, of which the others are no part."""
    surplus = math.lgamma(len(best.scene) + 1) - math.lgamma(count + 1)
    return replace(best, log_evidence=best.log_evidence - surplus)


def images_at_once(pixels: int, prior: ScenePrior, search: Search) -> int:
    """Returns the number of images in a batch, a power of two that bounds memory.

    Args:
      pixels: number of pixels in a window.
      prior: the scenes' prior.
      search: sizes of the search.
    """
    on_cpu = default_platform() == "cpu"
    images = _CPU_IMAGES if on_cpu else inference_batch()
    numbers = prior.max_targets - prior.min_targets + 1
    of_image = 3 * prior.max_targets * pixels * numbers * search.starts
    bounded = (_CPU_DERIVATIVES if on_cpu else _MOST_DERIVATIVES) // of_image
    return 1 << (max(1, min(images, bounded)).bit_length() - 1)
