"""Best fits of each number of targets to each image, and their evidence by Laplace's method."""

import math
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distax.fitting import solver
from distax.fitting.likelihood import residual_and_weight
from distax.fitting.patch import Patch
from distax.fitting.prior import host_range, intensity_bounds, pair_steps, starting_scenes
from distax.fitting.solver import Bounds, Fit
from distax.imaging.forward import image_of
from distax.imaging.psf import Psf
from distax.imaging.scenes import ScenePrior
from distax.runtime.errors import check_positive
from distax.runtime.pytree import pytree

_CROWDING_SCALE = 0.03
"""Unit in pixels of the penalty for crowding. The penalty in χ² is the square of the distance, in
this unit, by which two fitted targets are closer than the prior allows. It only chooses among fits
of one number of targets to one image. A smaller unit chooses worse fits to keep the distance. A
larger one lets two targets share one position."""


@dataclass(frozen=True)
class Search:
    """Sizes of the search for the best fit. Larger ones find it more often and take longer.

    Attributes:
      pool: number of scenes sampled from the prior, for each number of targets and each px² of the
        cluster's square.
      starts: number of fits, for each number of targets and each px² of the square. They start from
        the best scenes of the pool.
      steps: number of damped Gauss–Newton steps of each fit.

    Raises:
      DistaxError: a number is not positive.
    """

    pool: int = 128
    starts: int = 4
    steps: int = 8

    def __post_init__(self) -> None:
        check_positive(pool=self.pool, starts=self.starts, steps=self.steps)

    def over(self, cluster: float) -> "Search":
        """Returns the search for a whole square of `cluster` pixels a side.

        The sizes set shapes of arrays, so `cluster` must be known and not traced. The square's area
        in px² is rounded to a power of two, so that squares of nearly one size share a program.
        """
        area = 2 ** max(round(2 * math.log2(float(cluster))), 0)
        return replace(self, pool=area * self.pool, starts=area * self.starts)


Pool = Float[Array, "_ 3 pool"]
"""Scenes of one number of targets that fits start from; see `prior.starting_scenes`."""


def sample_pools(prior: ScenePrior, search: Search) -> tuple[Pool, ...]:
    """Samples the scenes that fits start from, for each number of targets of the prior.

    Args:
      prior: the scenes' prior.
      search: sizes for the whole square; see `Search.over`.
    """
    counts = range(prior.min_targets, prior.max_targets + 1)
    return tuple(starting_scenes(prior, count, search.pool) for count in counts)


@pytree
class BestFit:
    """The best fit of one number of targets to each image.

    Attributes:
      scene: `[K, 3, images]`, the fitted scenes.
      covariance: `[3K, 3K, images]`, covariance of a scene's parameters: the inverse of the fit's
        Gauss–Newton matrix, which includes the prior's precision.
      squares: weighted sum of squares of the residuals, plus that of the prior.
      log_evidence: logarithm of the image's probability under this number of targets, to second
        order and up to a constant that all numbers of targets share.
    """

    scene: Float[Array, "K 3 images"]
    covariance: Float[Array, "D D images"]
    squares: Float[Array, " images"]
    log_evidence: Float[Array, " images"]


def best_fit(patch: Patch, pool: Pool, prior: ScenePrior, search: Search, psf: Psf) -> BestFit:
    """Fits scenes of one number of targets to each image from many starts, and keeps the best.

    The sum of squares may have several minima, and a fit from one start may end in a poor one.

    Args:
      patch: the pixels.
      pool: scenes to start from, which set the number of targets.
      prior: the scenes' prior.
      search: sizes for the whole square; see `Search.over`.
      psf: the sensor's PSF.
    """
    images = patch.counts.shape[-1]
    starts = promising_starts(patch, pool, search.starts, psf)
    repeated = jax.tree.map(lambda leaf: jnp.repeat(leaf, search.starts, axis=-1), patch)
    bounds = bounds_around(starts, repeated, prior)
    fits = solver.fit(starts, repeated, bounds, psf, search.steps)
    squares = fits.squares + _crowding(fits.scene, prior)
    winner = jnp.argmin(squares.reshape(images, -1), axis=-1)
    lane = jnp.arange(images) * search.starts + winner
    chosen = jax.tree.map(lambda leaf: leaf[..., lane], (fits, bounds))
    return _compute_evidence(*chosen)


def _crowding(scene: Float[Array, "K 3 lanes"], prior: ScenePrior) -> Float[Array, " lanes"]:
    """Computes the penalty in χ² for targets that are closer together than the prior allows."""
    total = jnp.zeros(scene.shape[-1:])
    for step in pair_steps(scene):
        distance = jnp.linalg.norm(step, axis=0)
        total += (jnp.maximum(prior.min_distance - distance, 0.0) / _CROWDING_SCALE) ** 2
    return total


def promising_starts(patch: Patch, pool: Pool, number: int, psf: Psf) -> Float[Array, "K 3 lanes"]:
    """Chooses the scenes of a pool that fit each image best; an image's scenes are consecutive."""
    image = image_of(pool, patch.axes, psf)
    residual, weight = residual_and_weight(
        image[:, None], jax.tree.map(lambda leaf: leaf[..., None], patch), 0.0
    )
    squares = jnp.sum(weight * residual**2, axis=0)
    _, chosen = jax.lax.top_k(-squares, number)
    return pool[:, :, chosen.ravel()]


def bounds_around(start: Float[Array, "K 3 lanes"], patch: Patch, prior: ScenePrior) -> Bounds:
    """Returns the bounds of each fit: the square around its host, and the range of intensities."""
    host, _ = host_range(start, patch, prior)
    reach = prior.cluster / 2

    def box(position: Array, intensity: Array) -> Float[Array, "K 3 lanes"]:
        rows = jnp.stack([*position, jnp.full(position.shape[-1:], intensity)])
        return jnp.broadcast_to(rows, start.shape)

    dimmest, brightest = intensity_bounds(prior)
    return Bounds(lower=box(host - reach, dimmest), upper=box(host + reach, brightest))


def _compute_evidence(fit: Fit, bounds: Bounds) -> BestFit:
    """Computes the evidence of fits by Laplace's method: likelihood times Occam factor.

    The Occam factor is the share of the prior that the fit's Gaussian covers. It falls with every
    parameter that the image determines. So a further target has to improve the likelihood by more
    than its own factor, and χ² alone would always choose the most targets.

    Source: MacKay, Neural Computation 4 (1992), "Bayesian interpolation".
    """
    count = len(fit.scene)
    factor = jnp.linalg.cholesky(jnp.moveaxis(fit.matrix, -1, 0))
    log_determinant = 2 * jnp.sum(jnp.log(jnp.diagonal(factor, axis1=1, axis2=2)), axis=1)
    log_prior_determinant = jnp.sum(jnp.log(bounds.precision), axis=(0, 1))
    # Targets are interchangeable: each fit stands for count! equal fits with other orders.
    occam = 0.5 * (log_prior_determinant - log_determinant) + math.lgamma(count + 1)
    unit = jnp.broadcast_to(jnp.eye(3 * count), factor.shape)
    return BestFit(
        scene=fit.scene,
        covariance=jnp.moveaxis(jax.scipy.linalg.cho_solve((factor, True), unit), 0, -1),
        squares=fit.squares,
        log_evidence=jnp.nan_to_num(occam - 0.5 * fit.squares, nan=-jnp.inf, neginf=-jnp.inf),
    )
