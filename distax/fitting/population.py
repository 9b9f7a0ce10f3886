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
from distax.runtime.batching import map_lanes

FIRST_DRAWS = 2048
"""Draws among which the first population is chosen, a multiple of `SEARCH.starts`. Fewer may miss a
mode of small weight, more take longer."""
SEARCH = Search(pool=512, starts=128, steps=12)
"""Sizes of the search for the modes, for clusters of every side. They are
larger than those of the search for the best fit, because every mode counts. A larger search misses
fewer modes and takes longer."""


def first_draws(
    patch: Patch,
    normal: Float[Array, "D draws"],
    extra_noise: Float[Array, ""],
    pool: Pool,
    prior: ScenePrior,
    psf: Psf,
) -> tuple[Float[Array, "K 3 draws"], Float[Array, " draws"]]:
    """Draws scenes from a mixture of Gaussians around many fits (importance sampling).

    Targets are interchangeable, so a mode may be found with its targets in several orders, and
    would then count several times. To prevent this the targets of each fit are sorted, and a draw
    whose targets are in another order gets no weight: its density is returned as infinite.

    Args:
      patch: the pixels of one image.
      normal: standard normal numbers.
      extra_noise: standard deviation in counts of the first level's extra noise.
      pool: `SEARCH.pool` scenes to start from.
      prior: the scenes' prior.
      psf: the sensor's PSF.

    Returns:
      The draws, and the logarithm of the density that they are drawn from, up to a constant.
    """
    size, draws = normal.shape
    count = size // 3
    starts = promising_starts(patch, pool, SEARCH.starts, psf)

    def fit_scenes(starts: Array) -> Array:
        bounds = bounds_around(starts, patch, prior)
        return solver.fit(starts, patch, bounds, psf, SEARCH.steps).scene

    fitted = map_lanes(fit_scenes, starts)
    fits = jnp.take_along_axis(
        fitted, jnp.argsort(_sort_coordinate(fitted), axis=0)[:, None], axis=0
    )
    _, matrix, _, _ = scene_equations(fits, patch, extra_noise, psf)
    precision = jnp.moveaxis(matrix, -1, 0) + jnp.diag(proposal_precision(patch, prior, count))
    factor = jnp.linalg.cholesky(precision)
    centre = fits.reshape(size, -1).T
    each = normal.reshape(size, len(centre), -1).swapaxes(0, 1)
    offset = jax.scipy.linalg.solve_triangular(factor, each, lower=True, trans=1)
    drawn = (centre[:, :, None] + offset).swapaxes(0, 1).reshape(size, draws)
    away = drawn - centre[:, :, None]
    squared = jnp.sum((factor.swapaxes(1, 2) @ away) ** 2, axis=1)
    log_height = jnp.sum(jnp.log(jnp.diagonal(factor, axis1=1, axis2=2)), axis=1)
    log_density = jax.nn.logsumexp(log_height[:, None] - 0.5 * squared, axis=0)
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
    """Resamples systematically: returns the indices of `size` draws.

    The draws are equally spaced in the cumulative weight and start from one offset in 0..1. So the
    number of draws of an index differs from its expectation by less than one.
    """
    edges = jnp.cumsum(jax.nn.softmax(log_weight))
    draws = (offset + jnp.arange(size)) / size
    return jnp.minimum(jnp.searchsorted(edges, draws), len(log_weight) - 1)
