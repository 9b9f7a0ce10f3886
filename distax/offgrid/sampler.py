"""The posterior of one image's scene by sequential Monte Carlo, modes weighed and all.

Least-squares fits from many starts find the explanations. Draws from the Gaussians around them,
weighed by the posterior under a blurred likelihood, make a population, which is led to the
posterior through less and less blur: at each level scenes are resampled by how much better they
explain the sharper image, and moved by Metropolis–Hastings. A move draws from the Gauss–Newton
approximation at the scene itself (a stochastic Newton step), so that it follows the narrow curved
valleys that four and five targets leave.

Sources: Del Moral, Doucet & Jasra, J. R. Stat. Soc. B 68 (2006), "Sequential Monte Carlo
samplers"; Girolami & Calderhead, J. R. Stat. Soc. B 73 (2011), position-dependent metrics; Cotter
et al., Statist. Sci. 28 (2013), for the autoregressive form of the step.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from distax.errors import DistaxError, check_positive
from distax.offgrid import solver
from distax.offgrid.algebra import Factor, cholesky, solve, solve_upper, squared_norm
from distax.offgrid.fits import Search, bounds_around, promising_starts
from distax.offgrid.likelihood import (
    image_of,
    log_likelihood,
    normal_equations,
    relative_noise,
)
from distax.offgrid.patch import Patch
from distax.offgrid.prior import log_prior, prior_precision
from distax.psf import Psf
from distax.pytree import pytree
from distax.scenes import PlacementLaw

_FIRST_BLUR, _LAST_BLUR = 1.5, 0.1
"""Extra noise in counts at the first level, and at the last, where it no longer matters; for a
sensor whose only noise is rounding."""
_FIRST_DRAWS = 2048
"""Draws among which the first population is chosen."""
_SEARCH = Search(pool=512, starts=128, steps=12)
_EVEN = 0.5
"""Effective share of the population below which it is resampled."""
_STEP_SIZES = (0.2, 0.5, 0.9)
_LANES = 128
"""Scenes moved at a time on a CPU: their matrices just fit its second-level cache."""


@dataclass(frozen=True)
class Effort:
    """How hard the sampler works.

    Attributes:
      particles: scenes in the population, a multiple of 128.
      levels: blur levels between the first population and the posterior.
      moves: Metropolis–Hastings moves of every scene at a level; half as many for fewer than
        four targets, which leave one narrow explanation.
    """

    particles: int = 128
    levels: int = 6
    moves: int = 64

    def __post_init__(self) -> None:
        check_positive(particles=self.particles, levels=self.levels, moves=self.moves)
        if self.particles % _LANES:
            raise DistaxError(f"particles must be a multiple of {_LANES}, got {self.particles}")

    def moves_for(self, count: int) -> int:
        """Moves of scenes of `count` targets."""
        return self.moves if count > 3 else -(-self.moves // 2)


QUICK = Effort(moves=10)
"""Four times the speed of the default; its regions hold fewer targets than they say (90% regions
80% of them)."""


@pytree
class Noise:
    """The sampler's random numbers. All images share them, so that an answer depends on its
    image alone, and they are drawn once.

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
    """Random numbers for scenes of `count` targets."""
    first, resampling, proposals, acceptance = jax.random.split(key, 4)
    shape = (effort.levels, effort.moves_for(count))
    particles = effort.particles
    return Noise(
        first=jax.random.normal(first, (3 * count, _FIRST_DRAWS)),
        resampling=jax.random.uniform(resampling, shape[:1]),
        proposals=jax.random.normal(proposals, (*shape, 3 * count, particles)),
        acceptance=jnp.log(jax.random.uniform(acceptance, (*shape, particles))),
    )


def sample_posterior(
    patch: Patch, noise: Noise, law: PlacementLaw, width: int, psf: Psf
) -> Float[Array, "K 3 N"]:
    """Equally likely draws from the posterior of the scene in one image (a patch of one lane).

    The number of targets is that which the noise was drawn for.
    """
    particles = noise.proposals.shape[3]
    blurs = relative_noise(patch) * jnp.geomspace(_FIRST_BLUR, _LAST_BLUR, len(noise.resampling))
    move = partial(_move_all, patch=patch, law=law, width=width, psf=psf)

    def explain(scenes: Array, blur: Array) -> Float[Array, " N"]:
        return log_likelihood(image_of(scenes, width, psf), patch, blur)

    def level(
        carry: tuple[Array, Array], step: tuple[Array, ...]
    ) -> tuple[tuple[Array, Array], None]:
        scenes, log_weight = carry
        blur, next_blur, offset, proposals, acceptance = step
        scenes = move(scenes, proposals, acceptance, blur)
        log_weight += explain(scenes, next_blur) - explain(scenes, blur)
        # Resampling loses lineages, so it waits until the weights are uneven.
        uneven = _effective_size(log_weight) < _EVEN * particles
        drawn = _resample(log_weight, offset, particles)
        scenes = scenes[:, :, jnp.where(uneven, drawn, jnp.arange(particles))]
        return (scenes, jnp.where(uneven, 0.0, log_weight)), None

    drawn, log_density = _first_draws(patch, noise.first, blurs[0], law, width, psf)
    log_posterior = log_prior(drawn, patch, law) + explain(drawn, blurs[0])
    chosen = _resample(log_posterior - log_density, jnp.array(0.5), particles)
    start = (drawn[:, :, chosen], jnp.zeros(particles))
    next_blurs = jnp.append(blurs[1:], blurs[-1])
    steps = (blurs, next_blurs, noise.resampling, noise.proposals, noise.acceptance)
    (scenes, log_weight), _ = jax.lax.scan(level, start, steps)
    return scenes[:, :, _resample(log_weight, jnp.array(0.5), particles)]


def _first_draws(
    patch: Patch,
    normal: Float[Array, "D draws"],
    blur: Float[Array, ""],
    law: PlacementLaw,
    width: int,
    psf: Psf,
) -> tuple[Float[Array, "K 3 draws"], Float[Array, " draws"]]:
    """Draws from the Gaussians around many fits, and the logarithm of their density.

    Targets are interchangeable. Each fit has its targets in one order, and draws that leave the
    order get no weight (an infinite density), or a mode found in two orders would count twice.
    """
    size, draws = normal.shape
    count = size // 3
    starts = promising_starts(patch, count, law, _SEARCH, width, psf)

    def fit_some(starts: Array) -> Array:
        bounds = bounds_around(starts, patch, law)
        return solver.fit(starts, patch, bounds, width, psf, _SEARCH.steps).scene

    fitted = _join(jax.lax.map(fit_some, _split(starts)))
    fits = jnp.take_along_axis(fitted, jnp.argsort(_order(fitted), axis=0)[:, None], axis=0)
    _, matrix, _, _ = normal_equations(fits, patch, blur, width, psf)
    precision = jnp.moveaxis(matrix, -1, 0) + jnp.diag(_freedom(patch, law, count))
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
    ordered = jnp.all(jnp.diff(_order(scenes), axis=0) >= 0, axis=0)
    return scenes, jnp.where(ordered, log_density, jnp.inf)


def _freedom(patch: Patch, law: PlacementLaw, count: int) -> Float[Array, " D"]:
    """The law's precisions, weaker where noise leaves scenes more room."""
    return prior_precision(law, count) / jnp.sqrt(relative_noise(patch))


def _order(scenes: Float[Array, "K 3 lanes"]) -> Float[Array, "K lanes"]:
    """What targets are ordered by: their place along a direction that favours neither axis."""
    return scenes[:, 0] + 0.6 * scenes[:, 1]


def _effective_size(log_weight: Float[Array, " N"]) -> Float[Array, ""]:
    return 1.0 / jnp.sum(jax.nn.softmax(log_weight) ** 2)


def _resample(log_weight: Float[Array, " M"], offset: Float[Array, ""], size: int) -> Array:
    """Systematic resampling: indices of `size` draws."""
    edges = jnp.cumsum(jax.nn.softmax(log_weight))
    draws = (offset + jnp.arange(size)) / size
    return jnp.minimum(jnp.searchsorted(edges, draws), len(log_weight) - 1)


def _move_all(
    scenes: Float[Array, "K 3 N"],
    proposals: Float[Array, "moves D N"],
    acceptance: Float[Array, "moves N"],
    blur: Float[Array, ""],
    patch: Patch,
    law: PlacementLaw,
    width: int,
    psf: Psf,
) -> Float[Array, "K 3 N"]:
    """A level's moves, for as many scenes at a time as the cache holds."""
    look = partial(_look_around, patch=patch, blur=blur, law=law, width=width, psf=psf)
    sizes = jnp.resize(jnp.array(_STEP_SIZES), (len(proposals),))

    def some(chunk: tuple[Array, Array, Array]) -> Array:
        scenes, proposals, acceptance = chunk

        def move(
            here: _Surroundings, step: tuple[Array, Array, Array]
        ) -> tuple[_Surroundings, None]:
            size, proposal, acceptance = step
            there = look(_propose(here, proposal, size))
            ratio = (
                there.log_density
                - here.log_density
                + _log_proposal(there, here, size)
                - _log_proposal(here, there, size)
            )
            accept = acceptance < ratio
            return jax.tree.map(lambda a, b: jnp.where(accept, a, b), there, here), None

        end, _ = jax.lax.scan(move, look(scenes), (sizes, proposals, acceptance))
        return end.scene

    chunks = (_split(scenes), _split(proposals), _split(acceptance))
    return _join(jax.lax.map(some, chunks))


def _split(lanes: Float[Array, "*shape N"]) -> Float[Array, "chunks *shape lanes"]:
    at_once = _LANES if jax.default_backend() == "cpu" else lanes.shape[-1]
    return jnp.moveaxis(lanes.reshape(*lanes.shape[:-1], -1, at_once), -2, 0)


def _join(chunks: Float[Array, "chunks *shape lanes"]) -> Float[Array, "*shape N"]:
    lanes = jnp.moveaxis(chunks, 0, -2)
    return lanes.reshape(*lanes.shape[:-2], -1)


@pytree
class _Surroundings:
    """The posterior at a scene, and the Gaussian that approximates it around there."""

    scene: Float[Array, "K 3 lanes"]
    log_density: Float[Array, " lanes"]
    newton_step: Float[Array, "D lanes"]
    precision: Factor


def _look_around(
    scene: Float[Array, "K 3 lanes"],
    patch: Patch,
    blur: Float[Array, ""],
    law: PlacementLaw,
    width: int,
    psf: Psf,
) -> _Surroundings:
    image, matrix, vector, _ = normal_equations(scene, patch, blur, width, psf)
    prior = jnp.diag(_freedom(patch, law, len(scene)))[:, :, None]
    precision = cholesky(jax.lax.optimization_barrier(matrix + prior))
    return jax.lax.optimization_barrier(
        _Surroundings(
            scene=scene,
            log_density=log_likelihood(image, patch, blur) + log_prior(scene, patch, law),
            newton_step=solve(precision, vector),
            precision=precision,
        )
    )


def _drift(here: _Surroundings, size: Float[Array, ""]) -> Float[Array, "D lanes"]:
    """Mean step: were the approximation exact, steps of any size would keep it."""
    return (1 - jnp.sqrt(1 - size**2)) * here.newton_step


def _propose(
    here: _Surroundings, normal: Float[Array, "D lanes"], size: Float[Array, ""]
) -> Float[Array, "K 3 lanes"]:
    step = _drift(here, size) + size * solve_upper(here.precision, normal)
    return here.scene + step.reshape(here.scene.shape)


def _log_proposal(
    here: _Surroundings, there: _Surroundings, size: Float[Array, ""]
) -> Float[Array, " lanes"]:
    """Logarithm of the density of proposing `there` from `here`, up to a constant."""
    step = (there.scene - here.scene).reshape(here.newton_step.shape)
    distance = squared_norm(here.precision, step - _drift(here, size)) / size**2
    return 0.5 * (here.precision.log_determinant - distance)
