"""Refine method: best least-squares fits, the number of targets by evidence, Gaussian errors."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from distax.fitting.all_counts import Pools, best_fits_together
from distax.fitting.candidates import (
    BestFit,
    Pool,
    Search,
    best_fits,
    sample_pools,
)
from distax.fitting.likelihood import residual_and_weight
from distax.fitting.misfit import TRUSTED_MISFIT, compute_misfit
from distax.fitting.patch import Patch, blob_reach, cut_patches, lanes_last, window_width
from distax.imaging.gaussian import disc_probability, disc_radius
from distax.imaging.psf import Psf
from distax.imaging.scenes import ScenePrior
from distax.imaging.sensor import Sensor
from distax.imaging.targets import CREDIBLE_LEVELS, Targets, clear_padding
from distax.metrics import RADII
from distax.runtime.pytree import pytree

TRUSTED_COUNT = 0.9
"""If the probability of the number of targets is below this, the answer is not trusted. A higher
limit rejects more right answers, a lower one trusts more wrong numbers."""


def refine(
    images: Float[Array, "N height width"],
    sensor: Sensor,
    prior: ScenePrior,
    search: Search = Search(),
) -> Targets:
    """Finds targets by damped least squares, and their number by evidence.

    It is a pure function of its arguments and computes all images at once, so it can be traced,
    differentiated and exported. `estimators.Refine` computes long stacks in batches of equal size.

    Args:
      images: raw images in counts; NaN marks pixels to leave out.
      sensor: the sensor. Its `sigma` sets the size of windows and must be known, not traced.
      prior: the scenes' prior. Its `cluster` must be known as well.
      search: sizes of the search.

    Returns:
      Targets `[N, prior.max_targets]`; see `refine_patch`.
    """
    search = search.over(prior.cluster)
    width = window_width(sensor, prior.cluster)
    patch = cut_patches(images, sensor, width, blob_reach(width))
    return refine_patch(patch, sample_pools(prior, search), sensor.psf, prior, search)


@partial(jax.jit, static_argnames="search")
def refine_rows(
    rows: Patch, pools: tuple[Pool, ...], psf: Psf, prior: ScenePrior, search: Search
) -> Targets:
    """Refines patches as `refine_patch` does, with the images along the first axis."""
    return refine_patch(lanes_last(rows), pools, psf, prior, search)


@partial(jax.jit, static_argnames="search")
def refine_rows_together(
    rows: Patch, pools: Pools, psf: Psf, prior: ScenePrior, search: Search
) -> Targets:
    """Refines patches as `refine_rows` does, by a program that compiles faster and runs slower.

    Args:
      rows: the windows, with images along the first axis.
      pools: scenes to start from; see `prior.all_starting_scenes`.
      psf, prior, search: as for `refine_patch`.
    """
    patch = lanes_last(rows)
    return _choose_number(patch, best_fits_together(patch, pools, prior, search, psf), prior)


def refine_patch(
    patch: Patch, pools: tuple[Pool, ...], psf: Psf, prior: ScenePrior, search: Search
) -> Targets:
    """Finds the targets in windows by damped least squares, and their number by evidence.

    Each number of targets that the prior allows is fitted to every image, and an empty scene as
    well. The number with the largest evidence is chosen. A fit's evidence is its likelihood times
    the share of the prior that its Gaussian covers; see `candidates`. An image whose pixels are all
    unknown has no targets, and its answer is not trusted.

    The errors of positions and intensities come from the Gaussian approximation at the fit. If the
    misfit is above 1, the imaging model does not explain the image, and the errors are multiplied
    by it.

    Args:
      patch: the windows.
      pools: scenes to start from, for each number of targets; see `candidates.sample_pools`.
      psf: the sensor's PSF.
      prior: the scenes' prior.
      search: sizes for the cluster; see `Search.over`.

    Returns:
      Targets `[N, prior.max_targets]`, those with the highest score first.
    """
    return _choose_number(patch, best_fits(patch, pools, prior, search, psf), prior)


def count_evidence(patch: Patch, fits: Sequence[BestFit]) -> Float[Array, "numbers N"]:
    """Returns the log evidence of no target, then of each number of targets that was fitted.

    Args:
      patch: the windows.
      fits: the best fits of each number of targets that the prior allows, in rising order.
    """
    residual, weight = residual_and_weight(jnp.zeros_like(patch.counts), patch, 0.0)
    log_evidence_empty = -0.5 * jnp.sum(weight * residual**2, axis=0)
    # If no pixel is known, the prior alone would choose the number, and would choose the largest.
    known = jnp.any(patch.known, axis=0)
    of_counts = (jnp.where(known, fit.log_evidence, -jnp.inf) for fit in fits)
    return jnp.stack([log_evidence_empty, *of_counts])


def _choose_number(patch: Patch, fits: Sequence[BestFit], prior: ScenePrior) -> Targets:
    """Chooses the number of targets in each image by evidence; see `refine_patch`.

    Args:
      patch: the windows.
      fits: the best fits of each number of targets that the prior allows, in rising order.
      prior: the scenes' prior.
    """
    evidence, known = count_evidence(patch, fits), jnp.any(patch.known, axis=0)
    winner = jnp.argmax(evidence, axis=0)
    padded = jax.tree.map(
        lambda *leaves: jnp.stack(leaves),
        *(_pad_answer(fit, patch, prior.max_targets) for fit in fits),
    )
    best = jnp.maximum(winner - 1, 0)
    answer = jax.tree.map(lambda leaf: leaf[best, jnp.arange(len(best))], padded)
    count = jnp.where(winner == 0, 0, prior.min_targets + best)
    probability = jnp.where(known, jnp.max(jax.nn.softmax(evidence, axis=0), axis=0), 0.0)
    misfit = jnp.where(winner == 0, compute_misfit(-2 * evidence[0], patch), answer.misfit)
    return _with_errors(answer, count, misfit, probability)


@pytree
class _Answer:
    position: Float[Array, "N K 2"]
    intensity: Float[Array, "N K"]
    covariance: Float[Array, "N K 3 3"]
    misfit: Float[Array, " N"]


def _pad_answer(fit: BestFit, patch: Patch, slots: int) -> _Answer:
    """Converts the fits of one number of targets to image coordinates, padded to equal slots."""
    count = len(fit.scene)
    scene = jnp.moveaxis(fit.scene, -1, 0)
    own = fit.covariance.reshape(count, 3, count, 3, -1)
    blocks = jnp.stack([own[k, :, k] for k in range(count)])
    pad = [(0, 0), (0, slots - count)]
    return _Answer(
        position=jnp.pad(scene[..., :2] + patch.origin.T[:, None], [*pad, (0, 0)]),
        intensity=jnp.pad(scene[..., 2], pad),
        covariance=jnp.pad(jnp.moveaxis(blocks, -1, 0), [*pad, (0, 0), (0, 0)]),
        misfit=compute_misfit(fit.squares, patch),
    )


def _with_errors(
    answer: _Answer,
    count: Int[Array, " N"],
    misfit: Float[Array, " N"],
    probability: Float[Array, " N"],
) -> Targets:
    """Ranks the targets by score, and computes their errors and whether to trust them."""
    widened = jnp.maximum(misfit, 1.0)[:, None, None, None] ** 2 * answer.covariance
    place = widened[..., :2, :2]
    hit = _for_each(disc_probability, place, RADII)
    mask = jnp.arange(answer.intensity.shape[1]) < count[:, None]
    score = jnp.where(mask, jnp.mean(hit, axis=-1), 0.0)
    order = jnp.argsort(-score, axis=1)
    slots = Targets(
        position=answer.position,
        intensity=answer.intensity,
        mask=mask,
        score=score,
        covariance=place,
        intensity_std=jnp.sqrt(widened[..., 2, 2]),
        hit_probability=hit,
        credible_radius=_for_each(disc_radius, place, CREDIBLE_LEVELS),
    )
    ranked = jax.tree.map(lambda leaf: jax.vmap(jnp.take, (0, 0, None))(leaf, order, 0), slots)
    return replace(
        clear_padding(ranked),
        count_probability=probability,
        misfit=misfit,
        trusted=(misfit < TRUSTED_MISFIT) & (probability > TRUSTED_COUNT),
    )


def _for_each(
    function: Callable[[Array, Array], Array],
    covariance: Float[Array, "N K 2 2"],
    values: Sequence[float],
) -> Float[Array, "N K values"]:
    """Applies a function to every covariance and every value.

    One call takes all values, as each call would lengthen the compilation.
    """
    shape = (*covariance.shape[:2], len(values))
    each = jnp.broadcast_to(covariance[:, :, None], (*shape, 2, 2))
    return function(each, jnp.broadcast_to(jnp.array(values), shape))
