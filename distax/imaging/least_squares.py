"""Weighted least squares by damped Gauss–Newton steps (Levenberg–Marquardt), one problem per lane.

Source: Marquardt, J. SIAM 11 (1963). As in the paper the damping is relative to the diagonal.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from distax.runtime.algebra import cholesky, solve

FIRST_DAMPING = 1e-2
"""Damping of the first step, relative to the matrix's diagonal. Starting points are good, so the
step is nearly a Gauss–Newton step. More damping needs more steps. Less damping overshoots from poor
starting points."""
_LEAST_DAMPING = 1e-7
"""Smallest damping. float32 does not resolve a smaller one beside the diagonal."""
_EASE, _TIGHTEN = 0.2, 5.0
"""Factors of the damping after a step that lowered the sum of squares, and after one that did not.
Factors farther from 1 adapt in fewer steps and overshoot more."""

_UNROLLED = 81
"""If there are at most this many pixels, the normal matrix is computed by an unrolled loop. The
loop runs faster than the batched product, but its compilation takes longer with every pixel."""


def normal_equations(
    jacobian: Float[Array, "D pixels lanes"],
    residual: Float[Array, "pixels lanes"],
    weight: Float[Array, "pixels lanes"],
) -> tuple[Float[Array, "D D lanes"], Float[Array, "D lanes"], Float[Array, " lanes"]]:
    """Computes Gauss–Newton's matrix JᵀWJ and vector JᵀWr, and the sum of squares rᵀWr."""
    weighted = jax.lax.optimization_barrier(jacobian * weight)
    if len(residual) > _UNROLLED:
        matrix = jnp.einsum("ipl,jpl->ijl", weighted, jacobian, precision="highest")
    else:
        # On a CPU the batched product of einsum would handle one lane after the other.
        matrix = sum(
            (weighted[:, None, p] * jacobian[None, :, p] for p in range(len(residual))),
            start=jnp.zeros((len(jacobian), *weighted.shape[:1], weighted.shape[-1])),
        )
    vector = jnp.sum(weighted * residual, axis=1)
    squares = jnp.sum(weight * residual**2, axis=0)
    return jax.lax.optimization_barrier((matrix, vector, squares))


def next_damping(
    damping: Float[Array, " lanes"], better: Bool[Array, " #lanes"]
) -> Float[Array, " lanes"]:
    """Lowers the damping after a step that improved the fit, and raises it after any other."""
    return jnp.maximum(damping * jnp.where(better, _EASE, _TIGHTEN), _LEAST_DAMPING)


def damped(
    matrix: Float[Array, "D D lanes"],
    free: Float[Array, "D lanes"],
    damping: Float[Array, " lanes"] | float,
) -> Float[Array, "D D lanes"]:
    """Returns the damped matrix of a step's normal equations.

    Args:
      matrix: Gauss–Newton matrix.
      free: 1 for parameters that may move, 0 for parameters that are held. The vector of the normal
        equations must be 0 for held parameters.
      damping: damping relative to the diagonal.
    """
    diagonal = damping * jnp.diagonal(matrix).T + jnp.where(free > 0, 0.0, 1.0)
    return matrix * (free[:, None] * free) + jnp.eye(len(matrix))[:, :, None] * diagonal


def damped_step(
    matrix: Float[Array, "D D lanes"],
    vector: Float[Array, "D lanes"],
    free: Float[Array, "D lanes"],
    damping: Float[Array, " lanes"] | float,
) -> Float[Array, "D lanes"]:
    """Solves a step's damped normal equations; see `damped`."""
    system = jax.lax.optimization_barrier(damped(matrix, free, damping))
    return solve(cholesky(system), vector * free)
