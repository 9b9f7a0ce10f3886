"""First population of the sampler, drawn around the modes of the posterior, and resampling."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distax.fitting import solver
from distax.fitting.candidates import Pool, Search, bounds_around, promising_starts
from distax.fitting.likelihood import scene_equations
from distax.fitting.patch import Patch
from distax.fitting.prior import proposal_precision
from distax.imaging.psf import Psf
from distax.imaging.scenes import ScenePrior
from distax.runtime.algebra import cholesky, solve_upper
from distax.runtime.batching import map_lanes

FIRST_DRAWS = 2048
"""Draws among which the first population is chosen, a multiple of `SEARCH.starts`. Fewer may miss a
mode of small weight, more take longer."""
SEARCH = Search(pool=512, starts=128, steps=12)
"""Sizes of the search for the modes, for clusters of every side. They are
larger than those of the search for the best fit, because every mode counts. A larger search misses
fewer modes and takes longer."""


def fit_modes(patch: Patch, pool: Pool, prior: ScenePrior, psf: Psf) -> Float[Array, "K 3 fits"]:
    """Fits scenes to one image from many starts, to find the modes of its posterior.

    Targets are interchangeable, so fits may find one mode with its targets in several orders. The
    targets of each fit are therefore sorted.

    Args:
      patch: the pixels of one image.
      pool: `SEARCH.pool` scenes to start from.
      prior: the scenes' prior.
      psf: the sensor's PSF.
    """
    starts = promising_starts(patch, pool, SEARCH.starts, psf)

    def fit_scenes(starts: Array) -> Array:
        bounds = bounds_around(starts, patch, prior)
        return solver.fit(starts, patch, bounds, psf, SEARCH.steps).scene

    fitted = map_lanes(fit_scenes, starts)
    order = jnp.argsort(_sort_coordinate(fitted), axis=0)
    return jnp.take_along_axis(fitted, order[:, None], axis=0)


def first_draws(
    patch: Patch,
    fits: Float[Array, "K 3 fits"],
    normal: Float[Array, "D draws"],
    extra_noise: Float[Array, ""],
    prior: ScenePrior,
    psf: Psf,
) -> tuple[Float[Array, "K 3 draws"], Float[Array, " draws"]]:
    """Draws scenes from a mixture of Gaussians around the fits (importance sampling).

    A mode whose targets are drawn in several orders would count several times. To prevent this a
    draw whose targets are not sorted gets no weight: its density is returned as infinite.

    Args:
      patch: the pixels of one image.
      fits: see `fit_modes`.
      normal: standard normal numbers.
      extra_noise: standard deviation in counts of the extra noise of the likelihood.
      prior: the scenes' prior.
      psf: the sensor's PSF.

    Returns:
      The draws, and the logarithm of the density that they are drawn from, up to a constant.
    """
    size, draws = normal.shape
    count = size // 3
    _, matrix, _, _ = scene_equations(fits, patch, extra_noise, psf)
    prior_precision = jnp.diag(proposal_precision(patch, prior, count))[:, :, None]
    factor = cholesky(matrix + prior_precision)
    centre = fits.reshape(size, -1)
    each = draws // fits.shape[-1]
    of_draws = jax.tree.map(lambda leaf: jnp.repeat(leaf, each, axis=-1), factor)
    drawn = jnp.repeat(centre, each, axis=-1) + solve_upper(of_draws, normal)
    away = drawn[:, None] - centre[:, :, None]
    squared = jnp.sum(jnp.einsum("ijf,ifn->jfn", factor.dense, away) ** 2, axis=0)
    log_density = jax.nn.logsumexp(0.5 * (factor.log_determinant[:, None] - squared), axis=0)
    scenes = drawn.reshape(count, 3, draws)
    ordered = jnp.all(jnp.diff(_sort_coordinate(scenes), axis=0) >= 0, axis=0)
    return scenes, jnp.where(ordered, log_density, jnp.inf)


def _sort_coordinate(scenes: Float[Array, "K 3 lanes"]) -> Float[Array, "K lanes"]:
    """Returns the coordinate that targets are sorted by, along a direction oblique to both axes.

    Two targets may share a row or a column. Sorted along that axis they would have no order.
    """
    return scenes[:, 0] + 0.6 * scenes[:, 1]


def effective_size(log_weight: Float[Array, " N"]) -> Float[Array, ""]:
    """Computes the effective sample size: (Σ w)² / Σ w², at most the number of draws."""
    return 1.0 / jnp.sum(jax.nn.softmax(log_weight) ** 2)


def resample(log_weight: Float[Array, " M"], offset: Float[Array, ""], size: int) -> Array:
    """Draws `size` indices by systematic resampling.

    The draws are equally spaced in the cumulative weight and start from one offset in 0..1. So the
    number of draws of an index differs from its expectation by less than one.
    """
    edges = jnp.cumsum(jax.nn.softmax(log_weight))
    draws = (offset + jnp.arange(size)) / size
    return jnp.minimum(jnp.searchsorted(edges, draws), len(log_weight) - 1)
