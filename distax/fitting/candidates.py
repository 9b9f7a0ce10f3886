"""Best fits of each number of targets to each image, and their evidence by Laplace's method."""

import math
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distax.fitting import solver
from distax.fitting.likelihood import residual_and_weight
from distax.fitting.patch import Patch, repeat_lanes
from distax.fitting.prior import (
    all_starting_scenes,
    host_range,
    image_hosts,
    intensity_bounds,
    pair_steps,
)
from distax.fitting.solver import Bounds, Fit
from distax.imaging.forward import image_of
from distax.imaging.psf import Psf
from distax.imaging.scenes import ScenePrior
from distax.runtime.algebra import invert
from distax.runtime.errors import DistaxError, check_positive, finite
from distax.runtime.fields import check_fields
from distax.runtime.pytree import pytree

_CROWDING_SCALE = 0.03
"""Unit in pixels of the penalty for crowding. The penalty in χ² is the square of the distance, in
this unit, by which two fitted targets are closer than the prior allows. It only chooses among fits
of one number of targets to one image. A smaller unit chooses worse fits to keep the distance. A
larger one lets two targets share one position."""
WIDE_CLUSTER = 1.25
"""If a cluster's side is longer than this (pixels), it counts as wide; see `Search.steps`. A larger
limit leaves fits of wide clusters unfinished, a smaller one takes more time for narrow ones."""
_HOST_ERROR = 0.25
"""Pixels by which the host pixel may be estimated wrongly, for each pixel that the cluster is wider
than one. Positions may leave the square by that much. A smaller one locks targets out of the
square. A larger one weakens the prior."""


@dataclass(frozen=True)
class Search:
    """Sizes of the search for the best fit. Larger ones find it more often and take longer.

    Attributes:
      pool: number of scenes sampled from the prior, for each number of targets.
      starts: number of fits, for each number of targets. They start from the best scenes of the
        pool.
      steps: number of damped Gauss–Newton steps of each fit, for a cluster of up to
        `WIDE_CLUSTER` pixels. Wider clusters take twice as many, because starts are farther from
        the minimum.

    Raises:
      DistaxError: a number is not whole or not positive; there are more starts than scenes.
    """

    pool: int = 128
    starts: int = 4
    steps: int = 8

    def __post_init__(self) -> None:
        check_fields(self)
        check_positive(pool=self.pool, starts=self.starts, steps=self.steps)
        if self.starts > self.pool:
            raise DistaxError(f"starts must be at most pool, got {self.starts} of {self.pool}")

    def over(self, cluster: float) -> "Search":
        """Returns the search for a square of `cluster` pixels a side.

        The steps are part of the program, so `cluster` must be known and not traced.
        """
        wide = finite("cluster", cluster) > WIDE_CLUSTER
        return replace(self, steps=2 * self.steps) if wide else self


Pool = Float[Array, "_ 3 pool"]
"""Scenes of one number of targets that fits start from; see `prior.starting_scenes`."""


def sample_pools(prior: ScenePrior, search: Search) -> tuple[Pool, ...]:
    """Samples the scenes that fits start from, for each number of targets of the prior.

    Args:
      prior: the scenes' prior.
      search: sizes for the cluster; see `Search.over`.
    """
    pools = all_starting_scenes(prior, search.pool)
    counts = range(prior.min_targets, prior.max_targets + 1)
    return tuple(jnp.asarray(pool[:count]) for pool, count in zip(pools, counts, strict=True))


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


@pytree
class Modes:
    """Fits of one number of targets to each image from several starts.

    Lanes are fits; those of an image are consecutive. Where the sum of squares has several minima,
    the fits may end in different ones.

    Attributes:
      fit: the fitted scenes.
      bounds: the box that each fit stayed in.
      crowding: penalty in χ² for targets that are closer together than the prior allows.
    """

    fit: Fit
    bounds: Bounds
    crowding: Float[Array, " lanes"]


def find_modes(patch: Patch, pool: Pool, prior: ScenePrior, search: Search, psf: Psf) -> Modes:
    """Fits scenes of one number of targets to each image from its `search.starts` best starts.

    Args:
      patch: the pixels.
      pool: scenes to start from, which set the number of targets.
      prior: the scenes' prior.
      search: sizes for the cluster; see `Search.over`.
      psf: the sensor's PSF.
    """
    starts = promising_starts(patch, pool, search.starts, psf)
    repeated = repeat_lanes(patch, search.starts)
    bounds = bounds_around(starts, repeated, prior)
    fit = solver.fit(starts, repeated, bounds, psf, search.steps)
    return Modes(fit=fit, bounds=bounds, crowding=crowding(fit.scene, prior))


def best_fit(modes: Modes, starts: int) -> BestFit:
    """Keeps the best of each image's `starts` fits, and computes its evidence."""
    squares = (modes.fit.squares + modes.crowding).reshape(-1, starts)
    lane = jnp.arange(len(squares)) * starts + jnp.argmin(squares, axis=-1)
    chosen = jax.tree.map(lambda leaf: leaf[..., lane], (modes.fit, modes.bounds))
    return _compute_evidence(*chosen)


def best_fits(
    patch: Patch, pools: tuple[Pool, ...], prior: ScenePrior, search: Search, psf: Psf
) -> list[BestFit]:
    """Returns the best fit of each number of targets to each image, in rising order.

    Args:
      patch: the pixels.
      pools: scenes to start from, for each number of targets; see `sample_pools`.
      prior: the scenes' prior.
      search: sizes for the cluster; see `Search.over`.
      psf: the sensor's PSF.
    """
    return [best_fit(find_modes(patch, pool, prior, search, psf), search.starts) for pool in pools]


def crowding(scene: Float[Array, "K 3 lanes"], prior: ScenePrior) -> Float[Array, " lanes"]:
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
    """Returns the bounds of each fit: the square around its host, and the range of intensities.

    A square wider than a pixel is widened by the error of its host pixel.
    """
    # A start may lie beyond the image, whose host is then the nearest one within.
    host = jnp.minimum(host_range(start, patch, prior)[0], image_hosts(patch, prior)[1])
    reach = prior.cluster / 2 + _HOST_ERROR * jnp.maximum(prior.cluster - 1.0, 0.0)

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
    covariance, log_determinant = invert(fit.matrix)
    log_prior_determinant = jnp.sum(jnp.log(bounds.precision), axis=(0, 1))
    # Targets are interchangeable: each fit stands for count! equal fits with other orders.
    occam = 0.5 * (log_prior_determinant - log_determinant) + math.lgamma(count + 1)
    return BestFit(
        scene=fit.scene,
        covariance=covariance,
        squares=fit.squares,
        log_evidence=jnp.nan_to_num(occam - 0.5 * fit.squares, nan=-jnp.inf, neginf=-jnp.inf),
    )
