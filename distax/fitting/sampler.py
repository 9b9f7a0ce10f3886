"""Sampler of the posterior of one image's scene, by sequential Monte Carlo.

Least-squares fits from many starts find the modes of the posterior. The first population is drawn
from the Gaussians around them, or from the prior where nearly none of these draws is allowed. It is
weighted by the posterior under a likelihood with extra noise. The extra noise is then lowered level
by level. At each level scenes are moved by Metropolis–Hastings, weighted by the ratio of their
likelihoods under the next extra noise and this one, and resampled. So each mode ends with its share
of the posterior. A single chain that starts in one mode would stay there. Where enough draws are
likely under the last level already, the population is drawn and moved there only.

Source: Del Moral, Doucet & Jasra, J. R. Stat. Soc. B 68 (2006), "Sequential Monte Carlo samplers".
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from distax.fitting.candidates import Pool
from distax.fitting.likelihood import log_likelihood, relative_noise
from distax.fitting.moves import move_all
from distax.fitting.patch import Patch
from distax.fitting.population import (
    FIRST_DRAWS,
    effective_size,
    first_draws,
    fit_modes,
    resample,
)
from distax.fitting.prior import log_prior
from distax.imaging.forward import image_of
from distax.imaging.psf import Psf
from distax.imaging.scenes import ScenePrior
from distax.runtime.batching import LANES
from distax.runtime.errors import DistaxError, check_positive
from distax.runtime.fields import check_fields
from distax.runtime.pytree import pytree

_FIRST_EXTRA_NOISE, _LAST_EXTRA_NOISE = 1.5, 0.1
"""Standard deviation in counts of the extra noise at the first level and at the last, for a sensor
whose only noise is rounding. For others both are multiplied by `likelihood.relative_noise`. A
larger first value keeps more modes and needs more levels. The last value is too small to widen the
posterior. A smaller one would need more levels."""
_FEW, _PRIOR_EXTRA_NOISE = 4.0, 6.0
"""If the first draws around the fits have less than this effective number, the prior's scenes are
drawn instead, and the first extra noise is the second number. Noise makes the Gaussians around the
fits so wide that the prior excludes nearly all of their draws. A larger extra noise keeps more of
the prior's scenes and makes the levels farther apart."""
_ENOUGH = 8.0
"""If the first draws have this effective number or more under the last level's extra noise, the
sampler starts at the last level. A larger number takes more time. A smaller one starts from so few
scenes that the moves cannot make up for it."""
_EXCLUDED = 50.0
"""If the log-likelihood of the best drawn scene is this far below that of the best fit, the prior
is taken to exclude the image's scene. A smaller number drops images of many targets, whose fits
come closer than the prior allows. A larger one keeps scenes that do not explain the image."""
_EVEN = 0.5
"""Effective share of the population below which it is resampled. A higher share resamples more
often and loses more lineages. A lower one wastes particles of small weight."""


@dataclass(frozen=True)
class Effort:
    """Sizes of the sampler. Larger ones give better calibrated credible regions and take longer.

    Attributes:
      particles: number of scenes in the population, a multiple of 128.
      levels: number of levels of extra noise from the first population to the posterior.
      moves: number of Metropolis–Hastings moves of every scene at a level. Scenes of up to three
        targets get half as many, because their posterior has one narrow mode.

    Raises:
      DistaxError: a number is not whole or not positive; the particles are not a multiple of 128.
    """

    particles: int = 128
    levels: int = 6
    moves: int = 64

    def __post_init__(self) -> None:
        check_fields(self)
        check_positive(particles=self.particles, levels=self.levels, moves=self.moves)
        if self.particles % LANES:
            raise DistaxError(f"particles must be a multiple of {LANES}, got {self.particles}")

    def moves_for(self, count: int) -> int:
        """Returns the number of moves at a level for scenes of `count` targets."""
        return self.moves if count > 3 else -(-self.moves // 2)


QUICK = Effort(moves=10)
"""An effort with fewer moves, four times as fast as the default. The credible regions are too
small: 90% regions hold 80% of the targets."""


@pytree
class Noise:
    """Random numbers of the sampler.

    All images share them. They are drawn once, and an answer depends on its image alone.

    Attributes:
      first: `[3K, draws]`, standard normal.
      resampling: `[levels]`, uniform.
      proposals: `[levels, moves, 3K, particles]`, standard normal.
      acceptance: `[levels, moves, particles]`, logarithms of uniform numbers.
    """

    first: Float[Array, "D draws"]
    resampling: Float[Array, " levels"]
    proposals: Float[Array, "levels moves D N"]
    acceptance: Float[Array, "levels moves N"]


@partial(jax.jit, static_argnums=(1, 2))
def draw_noise(key: PRNGKeyArray, count: int, effort: Effort) -> Noise:
    """Draws the random numbers for scenes of `count` targets."""
    first, resampling, proposals, acceptance = jax.random.split(key, 4)
    shape = (effort.levels, effort.moves_for(count))
    particles = effort.particles
    return Noise(
        first=jax.random.normal(first, (3 * count, FIRST_DRAWS)),
        resampling=jax.random.uniform(resampling, shape[:1]),
        proposals=jax.random.normal(proposals, (*shape, 3 * count, particles)),
        acceptance=jnp.log(jax.random.uniform(acceptance, (*shape, particles))),
    )


def sample_posterior(
    patch: Patch, noise: Noise, pool: Pool, prior: ScenePrior, psf: Psf
) -> Float[Array, "K 3 N"]:
    """Draws equally likely scenes from the posterior of one image.

    Args:
      patch: the pixels of one image, one lane.
      noise: random numbers; their shapes set the number of targets.
      pool: `population.SEARCH.pool` scenes to start from.
      prior: the scenes' prior.
      psf: the sensor's PSF.

    Returns:
      The draws. They are NaN if the prior excludes every scene that comes near to explaining the
      image.
    """
    levels, _, _, particles = noise.proposals.shape
    fits = fit_modes(patch, pool, prior, psf)
    unit = relative_noise(patch)

    def likelihood_under(scenes: Array, extra_noise: Array) -> Float[Array, " N"]:
        return log_likelihood(image_of(scenes, patch.axes, psf), patch, extra_noise)

    population, highest, enough = _first_population(
        patch, fits, noise, pool, prior, psf, likelihood_under
    )
    share = jnp.linspace(0.0, 1.0, levels)
    extra_noises = unit * highest ** (1 - share) * _LAST_EXTRA_NOISE**share

    def level(index: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        scenes, log_weight = carry
        extra_noise = extra_noises[index]
        next_extra_noise = extra_noises[jnp.minimum(index + 1, levels - 1)]
        proposals, acceptance = noise.proposals[index], noise.acceptance[index]
        scenes = move_all(scenes, proposals, acceptance, extra_noise, patch, prior, psf)
        log_weight += likelihood_under(scenes, next_extra_noise) - likelihood_under(
            scenes, extra_noise
        )
        # Resampling loses lineages, so it waits until the weights are uneven.
        uneven = effective_size(log_weight) < _EVEN * particles
        drawn = resample(log_weight, noise.resampling[index], particles)
        scenes = scenes[:, :, jnp.where(uneven, drawn, jnp.arange(particles))]
        return scenes, jnp.where(uneven, 0.0, log_weight)

    first_level = jnp.where(enough, levels - 1, 0)
    start = (population, jnp.zeros(particles))
    scenes, log_weight = jax.lax.fori_loop(first_level, levels, level, start)
    sampled = _resampled(scenes, log_weight, particles)
    best_fit, best = (jnp.max(likelihood_under(some, extra_noises[-1])) for some in (fits, sampled))
    return jnp.where(best > best_fit - _EXCLUDED, sampled, jnp.nan)


def _first_population(
    patch: Patch,
    fits: Float[Array, "K 3 M"],
    noise: Noise,
    pool: Pool,
    prior: ScenePrior,
    psf: Psf,
    likelihood_under: Callable[[Array, Array], Float[Array, " _"]],
) -> tuple[Float[Array, "K 3 N"], Float[Array, ""], Bool[Array, ""]]:
    """Draws the first population, around the fits or from the prior.

    Returns:
      The scenes; their extra noise, relative to the image's noise; True if they are draws under
      the last level's extra noise.
    """
    particles = noise.proposals.shape[-1]
    unit = relative_noise(patch)

    def draw_around_fits(extra_noise: Array) -> tuple[Array, Float[Array, ""]]:
        """Draws a population around the fits; returns it with the draws' effective number."""
        drawn, log_density = first_draws(patch, fits, noise.first, extra_noise, prior, psf)
        log_posterior = log_prior(drawn, patch, prior) + likelihood_under(drawn, extra_noise)
        weight = log_posterior - log_density
        return _resampled(drawn, weight, particles), jnp.nan_to_num(effective_size(weight))

    def draw_from_prior() -> Array:
        allowed = jnp.isfinite(log_prior(pool, patch, prior))
        weight = jnp.where(allowed, likelihood_under(pool, unit * _PRIOR_EXTRA_NOISE), -jnp.inf)
        return _resampled(pool, weight, particles)

    def start_at_first_level() -> tuple[Array, Array]:
        around_fits, number = draw_around_fits(unit * _FIRST_EXTRA_NOISE)
        few = number < _FEW
        population = jnp.where(few, draw_from_prior(), around_fits)
        return population, jnp.where(few, _PRIOR_EXTRA_NOISE, _FIRST_EXTRA_NOISE)

    direct, number = draw_around_fits(unit * _LAST_EXTRA_NOISE)
    enough = number >= _ENOUGH
    population, highest = jax.lax.cond(
        enough, lambda: (direct, jnp.array(_LAST_EXTRA_NOISE)), start_at_first_level
    )
    return population, highest, enough


def _resampled(
    scenes: Float[Array, "K 3 M"], log_weight: Float[Array, " M"], size: int
) -> Float[Array, "K 3 {size}"]:
    """Draws equally likely scenes by their weights; NaN if no weight is finite."""
    drawn = scenes[:, :, resample(log_weight, jnp.array(0.5), size)]
    return jnp.where(jnp.any(jnp.isfinite(log_weight)), drawn, jnp.nan)
