"""Metropolis–Hastings moves of scenes by stochastic Newton steps.

The posterior of four or five targets is concentrated in narrow curved valleys. A move draws from
the Gauss–Newton approximation at the scene itself, so it follows its valley.

Sources: Girolami & Calderhead, J. R. Stat. Soc. B 73 (2011), for metrics that depend on the
position; Martin et al., SIAM J. Sci. Comput. 34 (2012), A1460, for stochastic Newton MCMC; Cotter
et al., Statist. Sci. 28 (2013), for the autoregressive form of the step.
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
"""Step sizes, used in turn for successive moves, in standard deviations of the proposal. Large
steps cross a valley; small ones are accepted more often where it curves."""


def move_all(
    scenes: Float[Array, "K 3 N"],
    proposals: Float[Array, "moves D N"],
    acceptance: Float[Array, "moves N"],
    extra_noise: Float[Array, ""],
    patch: Patch,
    prior: ScenePrior,
    psf: Psf,
) -> Float[Array, "K 3 N"]:
    """Moves every scene of a population by Metropolis–Hastings, once for each proposal.

    The target density is π(θ) ∝ p(y | θ) p(θ), with the likelihood under the extra noise. With
    standard normal numbers z and step size ε, a move proposes

        θ' = θ + (1 − √(1 − ε²)) δ + ε L⁻ᵀ z.

    Here L Lᵀ = JᵀWJ + P is the precision at θ, with the diagonal P of `prior.proposal_precision`,
    and δ = (L Lᵀ)⁻¹ JᵀWr is the Newton step. The proposal has the density q(θ' | θ). It is accepted
    with probability min(1, π(θ') q(θ | θ') / (π(θ) q(θ' | θ))).

    Args:
      scenes: the population. The second axis is row and column in pixels and intensity in counts.
      proposals: standard normal numbers for each move, with D = 3K.
      acceptance: logarithms of uniform numbers, to which the acceptance ratio is compared.
      extra_noise: standard deviation of extra noise in counts.
      patch: the pixels of one image.
      prior: the scenes' prior.
      psf: the sensor's PSF.

    Returns:
      The population after the last move.
    """
    approximate = partial(_approximate, patch=patch, extra_noise=extra_noise, prior=prior, psf=psf)
    sizes = jnp.resize(jnp.array(_STEP_SIZES), (len(proposals),))

    def move(here: _LocalGaussian, step: tuple[Array, Array, Array]) -> tuple[_LocalGaussian, None]:
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
class _LocalGaussian:
    """The posterior density at scenes, and the Gaussian that approximates the posterior at each."""

    scene: Float[Array, "K 3 lanes"]
    log_density: Float[Array, " lanes"]
    newton_step: Float[Array, "D lanes"]
    precision_factor: Factor


def _approximate(
    scene: Float[Array, "K 3 lanes"],
    patch: Patch,
    extra_noise: Float[Array, ""],
    prior: ScenePrior,
    psf: Psf,
) -> _LocalGaussian:
    """Computes the posterior density at scenes, and its Gauss–Newton approximation at each."""
    image, matrix, vector, _ = scene_equations(scene, patch, extra_noise, psf)
    prior_precision = jnp.diag(proposal_precision(patch, prior, len(scene)))[:, :, None]
    # Without the barriers XLA would compute the matrix anew for each entry of its factor, and the
    # Gaussian anew wherever the scan uses it.
    factor = cholesky(jax.lax.optimization_barrier(matrix + prior_precision))
    return jax.lax.optimization_barrier(
        _LocalGaussian(
            scene=scene,
            log_density=log_likelihood(image, patch, extra_noise) + log_prior(scene, patch, prior),
            newton_step=solve(factor, vector),
            precision_factor=factor,
        )
    )


def _drift(here: _LocalGaussian, size: Float[Array, ""]) -> Float[Array, "D lanes"]:
    """Returns the mean step (1 − √(1 − ε²)) δ, with the Newton step δ and the step size ε.

    A Gaussian posterior is invariant under steps with this mean, for every ε.
    """
    return (1 - jnp.sqrt(1 - size**2)) * here.newton_step


def _propose(
    here: _LocalGaussian, normal: Float[Array, "D lanes"], size: Float[Array, ""]
) -> Float[Array, "K 3 lanes"]:
    """Proposes scenes by an autoregressive step from the Gaussian approximation at each."""
    step = _drift(here, size) + size * solve_upper(here.precision_factor, normal)
    return here.scene + step.reshape(here.scene.shape)


def _log_proposal(
    here: _LocalGaussian, there: _LocalGaussian, size: Float[Array, ""]
) -> Float[Array, " lanes"]:
    """Computes the logarithm of the density of proposing `there` from `here`, up to a constant."""
    step = (there.scene - here.scene).reshape(here.newton_step.shape)
    distance = quadratic_form(here.precision_factor, step - _drift(here, size)) / size**2
    return 0.5 * (here.precision_factor.log_determinant - distance)
