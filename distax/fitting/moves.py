"""Metropolis–Hastings moves of scenes by stochastic Newton steps.

The posterior of four or five targets is concentrated in narrow curved valleys. A move draws from
the Gauss–Newton approximation at the scene itself, so it follows its valley.

Sources: Girolami & Calderhead, J. R. Stat. Soc. B 73 (2011), for metrics that depend on the
position; Cotter et al., Statist. Sci. 28 (2013), for the autoregressive form of the step.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distax.fitting.likelihood import log_likelihood, scene_equations
from distax.fitting.patch import Patch
from distax.fitting.prior import log_prior, proposal_precision
from distax.imaging.psf import Psf
from distax.imaging.scenes import ScenePrior
from distax.runtime.algebra import Factor, cholesky, quadratic_form, solve, solve_upper
from distax.runtime.batching import map_lanes
from distax.runtime.pytree import pytree

_STEP_SIZES = (0.2, 0.5, 0.9)
"""Sizes of successive steps in standard deviations of the proposal, repeated for further steps.
Large steps cross a valley. Small steps are accepted more often if it is curved."""


def move_all(
    scenes: Float[Array, "K 3 N"],
    proposals: Float[Array, "moves D N"],
    acceptance: Float[Array, "moves N"],
    blur: Float[Array, ""],
    patch: Patch,
    prior: ScenePrior,
    psf: Psf,
) -> Float[Array, "K 3 N"]:
    """Moves every scene of a population by Metropolis–Hastings, once for each proposal.

    Args:
      scenes: the population.
      proposals: standard normal numbers for each move.
      acceptance: logarithms of uniform numbers, to which the acceptance ratio is compared.
      blur: standard deviation of extra noise in counts.
      patch: the pixels of one image.
      prior: the scenes' prior.
      psf: the sensor's PSF.
    """
    approximate = partial(_approximate, patch=patch, blur=blur, prior=prior, psf=psf)
    sizes = jnp.resize(jnp.array(_STEP_SIZES), (len(proposals),))

    def move(here: _Surroundings, step: tuple[Array, Array, Array]) -> tuple[_Surroundings, None]:
        size, proposal, acceptance = step
        there = approximate(_propose(here, proposal, size))
        # The proposal depends on the scene, so the ratio includes the densities of both directions.
        ratio = (
            there.log_density
            - here.log_density
            + _log_proposal(there, here, size)
            - _log_proposal(here, there, size)
        )
        accept = acceptance < ratio
        return jax.tree.map(lambda a, b: jnp.where(accept, a, b), there, here), None

    def move_lanes(scenes: Array, proposals: Array, acceptance: Array) -> Array:
        end, _ = jax.lax.scan(move, approximate(scenes), (sizes, proposals, acceptance))
        return end.scene

    return map_lanes(move_lanes, scenes, proposals, acceptance)


@pytree
class _Surroundings:
    """The posterior density at scenes, and the Gaussian that approximates the posterior at each."""

    scene: Float[Array, "K 3 lanes"]
    log_density: Float[Array, " lanes"]
    newton_step: Float[Array, "D lanes"]
    precision: Factor


def _approximate(
    scene: Float[Array, "K 3 lanes"],
    patch: Patch,
    blur: Float[Array, ""],
    prior: ScenePrior,
    psf: Psf,
) -> _Surroundings:
    """Computes the posterior density at scenes, and its Gauss–Newton approximation at each."""
    image, matrix, vector, _ = scene_equations(scene, patch, blur, psf)
    weak = jnp.diag(proposal_precision(patch, prior, len(scene)))[:, :, None]
    precision = cholesky(jax.lax.optimization_barrier(matrix + weak))
    return jax.lax.optimization_barrier(
        _Surroundings(
            scene=scene,
            log_density=log_likelihood(image, patch, blur) + log_prior(scene, patch, prior),
            newton_step=solve(precision, vector),
            precision=precision,
        )
    )


def _drift(here: _Surroundings, size: Float[Array, ""]) -> Float[Array, "D lanes"]:
    """Returns the mean step. With it a step of any size leaves a Gaussian posterior unchanged."""
    return (1 - jnp.sqrt(1 - size**2)) * here.newton_step


def _propose(
    here: _Surroundings, normal: Float[Array, "D lanes"], size: Float[Array, ""]
) -> Float[Array, "K 3 lanes"]:
    """Proposes scenes by an autoregressive step from the Gaussian approximation at each."""
    step = _drift(here, size) + size * solve_upper(here.precision, normal)
    return here.scene + step.reshape(here.scene.shape)


def _log_proposal(
    here: _Surroundings, there: _Surroundings, size: Float[Array, ""]
) -> Float[Array, " lanes"]:
    """Computes the logarithm of the density of proposing `there` from `here`, up to a constant."""
    step = (there.scene - here.scene).reshape(here.newton_step.shape)
    distance = quadratic_form(here.precision, step - _drift(here, size)) / size**2
    return 0.5 * (here.precision.log_determinant - distance)
