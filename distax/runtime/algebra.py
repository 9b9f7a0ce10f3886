"""Small positive-definite systems, one per lane: unrolled Cholesky factor and substitutions.

A factor is stored as its columns from the diagonal down, together with the diagonal's inverse. For
the sizes used here (3 to 15) the unrolled loops are several times faster than a batched library
call, which handles one small matrix after the other.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distax.runtime.pytree import pytree

_LEAST_PIVOT = 1e-7
"""Smallest pivot of a matrix with unit diagonal: float32 resolves no smaller ones."""


@pytree
class Factor:
    """Lower Cholesky factor L of A = L Lᵀ.

    Attributes:
      columns: for each j column j of L from its diagonal entry down, `[D - j, lanes]`.
      inverse_diagonal: `[D, lanes]`, inverse of the diagonal entries of L.
    """

    columns: tuple[Array, ...]
    inverse_diagonal: Float[Array, "D lanes"]

    @property
    def dense(self) -> Float[Array, "D D lanes"]:
        """L with its zeros."""
        padded = (jnp.pad(column, [(j, 0), (0, 0)]) for j, column in enumerate(self.columns))
        return jnp.stack(list(padded), axis=1)

    @property
    def log_determinant(self) -> Float[Array, " lanes"]:
        """Logarithm of A's determinant."""
        return -2.0 * jnp.sum(jnp.log(self.inverse_diagonal), axis=0)


def cholesky(matrix: Float[Array, "D D lanes"]) -> Factor:
    """Factors positive-definite matrices; raises pivots that rounding made negative to 1e-20."""
    columns: list[Array] = []
    inverses = []
    for j in range(len(matrix)):
        column = matrix[j:, j]
        for k, done in enumerate(columns):
            column = column - done[j - k :] * done[j - k]
        inverse = jax.lax.rsqrt(jnp.maximum(column[0], 1e-20))
        columns.append(column * inverse)
        inverses.append(inverse)
    # Without the barrier XLA would compute the factor anew wherever it is used.
    return jax.lax.optimization_barrier(
        Factor(columns=tuple(columns), inverse_diagonal=jnp.stack(inverses))
    )


def solve_lower(factor: Factor, right: Float[Array, "D lanes"]) -> Float[Array, "D lanes"]:
    """Solves L z = right for z."""
    solution = []
    for column, inverse in zip(factor.columns, factor.inverse_diagonal, strict=True):
        solution.append(right[0] * inverse)
        right = right[1:] - column[1:] * solution[-1]
    return jax.lax.optimization_barrier(jnp.stack(solution))


def solve_upper(factor: Factor, right: Float[Array, "D lanes"]) -> Float[Array, "D lanes"]:
    """Solves Lᵀ z = right for z."""
    solution = jnp.zeros_like(right[:0])
    for j in reversed(range(len(factor.columns))):
        known = jnp.sum(factor.columns[j][1:] * solution, axis=0)
        entry = (right[j] - known) * factor.inverse_diagonal[j]
        solution = jnp.concatenate([entry[None], solution])
    return jax.lax.optimization_barrier(solution)


def solve(factor: Factor, right: Float[Array, "D lanes"]) -> Float[Array, "D lanes"]:
    """Solves A z = right for z."""
    return solve_upper(factor, solve_lower(factor, right))


def quadratic_form(factor: Factor, vector: Float[Array, "D lanes"]) -> Float[Array, " lanes"]:
    """Computes vectorᵀ A vector."""
    return sum(
        (jnp.sum(column * vector[j:], axis=0) ** 2 for j, column in enumerate(factor.columns)),
        start=jnp.zeros(vector.shape[-1:]),
    )


def invert(
    matrix: Float[Array, "D D lanes"],
) -> tuple[Float[Array, "D D lanes"], Float[Array, " lanes"]]:
    """Inverts positive-definite matrices by sweeps, and computes logarithms of determinants.

    The matrices are first scaled to unit diagonals, so that units do not matter. Unlike LAPACK's,
    the loop runs over all lanes at once, and its compilation takes no longer for larger matrices.

    Returns:
      The inverses and the logarithms. In a matrix that rounding made indefinite, pivots are raised
      to `_LEAST_PIVOT`, so that the inverse stays bounded, and the logarithm is NaN.

    Source: Goodnight, The American Statistician 33 (1979), "A tutorial on the SWEEP operator".
    """
    size = len(matrix)
    scale = jax.lax.rsqrt(jnp.maximum(jnp.diagonal(matrix).T, 1e-30))
    scaled = matrix * scale[:, None] * scale

    def sweep(k: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        swept, log_determinant = state
        row = jax.lax.dynamic_index_in_dim(swept, k, keepdims=False)
        column = jax.lax.dynamic_index_in_dim(swept, k, axis=1, keepdims=False)
        here = (jnp.arange(size) == k)[:, None]
        pivot = jnp.sum(jnp.where(here, row, 0.0), axis=0)
        log_determinant += jnp.log(jnp.where(pivot > 0, pivot, jnp.nan))
        row = jnp.where(here, 1.0, row) / jnp.maximum(pivot, _LEAST_PIVOT)
        column = jnp.where(here, -1.0, column)
        kept = jnp.where(here[:, None] | here[None], 0.0, swept)
        return kept - column[:, None] * row, log_determinant

    start = scaled, jnp.zeros(matrix.shape[-1:])
    inverse, log_determinant = jax.lax.fori_loop(0, size, sweep, start)
    return inverse * scale[:, None] * scale, log_determinant - 2 * jnp.sum(jnp.log(scale), axis=0)
