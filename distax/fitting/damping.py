"""How far a damped Gauss–Newton step goes, and which parameters it leaves where they are."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

FIRST_DAMPING = 1e-2
"""What steps begin with, relative to the matrix's diagonal."""
_LEAST_DAMPING = 1e-7
_EASE, _TIGHTEN = 0.2, 5.0


def next_damping(
    damping: Float[Array, " lanes"], better: Bool[Array, " #lanes"]
) -> Float[Array, " lanes"]:
    """Less by a factor of five after a step that made the fit better, else as much more."""
    return jnp.maximum(damping * jnp.where(better, _EASE, _TIGHTEN), _LEAST_DAMPING)


def damped(
    matrix: Float[Array, "D D lanes"],
    free: Float[Array, "D lanes"],
    damping: Float[Array, " lanes"],
    floor: float = 0.0,
) -> Float[Array, "D D lanes"]:
    """The matrix of a step's normal equations.

    Args:
      matrix: Gauss–Newton's.
      free: 1 for parameters that may move; those with 0 stay if the vector has 0 for them, too.
      damping: relative to the diagonal.
      floor: what is added to the diagonal besides, for parameters of which nothing is known.
    """
    diagonal = damping * jnp.diagonal(matrix).T + jnp.where(free > 0, floor, 1.0)
    return matrix * (free[:, None] * free) + jnp.eye(len(matrix))[:, :, None] * diagonal
