"""Metropolis–Hastings moves of scenes by stochastic Newton steps.

A move draws from the Gauss–Newton approximation at the scene itself, so that it follows the narrow
curved valleys that four and five targets leave.

Sources: Girolami & Calderhead, J. R. Stat. Soc. B 73 (2011), position-dependent metrics; Cotter
et al., Statist. Sci. 28 (2013), for the autoregressive form of the step.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distax.fitting.algebra import Factor, cholesky, solve, solve_upper, squared_norm
from distax.fitting.lanes import join, split
from distax.fitting.likelihood import log_likelihood, normal_equations
from distax.fitting.patch import Patch
from distax.fitting.prior import freedom, log_prior
from distax.imaging.psf import Psf
from distax.imaging.scenes import ScenePrior
from distax.runtime.pytree import pytree

_STEP_SIZES = (0.2, 0.5, 0.9)


def move_all(
    scenes: Float[Array, "K 3 N"],
    proposals: Float[Array, "moves D N"],
    acceptance: Float[Array, "moves N"],
    blur: Float[Array, ""],
    patch: Patch,
    prior: ScenePrior,
    width: int,
    psf: Psf,
) -> Float[Array, "K 3 N"]:
    """A level's moves, for as many scenes at a time as the cache holds."""
    look = partial(_look_around, patch=patch, blur=blur, prior=prior, width=width, psf=psf)
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

    chunks = (split(scenes), split(proposals), split(acceptance))
    return join(jax.lax.map(some, chunks))


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
    prior: ScenePrior,
    width: int,
    psf: Psf,
) -> _Surroundings:
    image, matrix, vector, _ = normal_equations(scene, patch, blur, width, psf)
    weak = jnp.diag(freedom(patch, prior, len(scene)))[:, :, None]
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
