"""Damped least squares of paths over the pixels of all frames of a sequence."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from distax.fitting.likelihood import scene_equations
from distax.fitting.patch import Patch
from distax.imaging.least_squares import FIRST_DAMPING, damped_step, next_damping
from distax.imaging.motion import MotionPrior
from distax.imaging.psf import Psf
from distax.runtime.pytree import pytree

_STEPS = 15
"""Damped Gauss–Newton steps. Starts are good: within ten steps the sum of squares of nearly all
sequences is constant to four digits."""


@pytree
class PathFit:
    """Paths of the targets of N sequences, and their normal equations.

    Attributes:
      paths: coefficients of each target's row, then those of its column, then its intensity.
      matrix, vector, squares: as in `fitting.solver.Fit`, over all frames.
    """

    paths: Float[Array, "K D N"]
    matrix: Float[Array, "P P N"]
    vector: Float[Array, "P N"]
    squares: Float[Array, " N"]


def path_design(basis: Float[Array, "T C"]) -> Float[Array, "T 3 D"]:
    """Returns the matrices from a path's parameters to its row, column and intensity."""
    zero = jnp.zeros_like(basis)
    one = jnp.zeros((len(basis), 2 * basis.shape[1] + 1)).at[:, -1].set(1.0)
    last = jnp.zeros((len(basis), 1))
    row = jnp.concatenate([basis, zero, last], axis=1)
    column = jnp.concatenate([zero, basis, last], axis=1)
    return jnp.stack([row, column, one], axis=1)


def minimise(
    start: Float[Array, "K D N"],
    exists: Bool[Array, "N K"],
    basis: Float[Array, "T C"],
    patch: Patch,
    psf: Psf,
    prior: MotionPrior,
) -> PathFit:
    """Minimises the weighted squares of all frames, with the prior of the intensities.

    The uniform prior is replaced by the Gaussian of the same mean and variance, as in
    `fitting.solver`.

    Args:
      start: paths to start from.
      exists: True for slots that hold a target; the others stay at zero.
      basis: powers of each frame's time.
      patch: windows of all frames; the sequences of one frame are consecutive lanes.
      psf: the sensor's PSF.
      prior: prior of the motion, for its range of intensities.
    """
    size, order, number = start.shape
    design, length = path_design(basis), len(basis)
    present = exists.T[:, None]
    free = jnp.broadcast_to(present, start.shape).reshape(size * order, number).astype(float)
    low, high = prior.placement.min_intensity, prior.placement.max_intensity
    # A thousandth of a count keeps the precision finite if all intensities are equal.
    mean, precision = (low + high) / 2, 12 / (high - low + 1e-3) ** 2

    def equations(paths: Float[Array, "K D N"]) -> PathFit:
        scene = jnp.einsum("tid,kdn->kitn", design, paths).reshape(size, 3, -1)
        scene -= jnp.pad(patch.origin, ((0, 1), (0, 0)))
        matrix, vector, squares = scene_equations(scene, patch, 0.0, psf)[1:]
        matrix = matrix.reshape(size, 3, size, 3, length, number)
        matrix = jnp.einsum("tid,kiljtn,tje->kdlen", design, matrix, design)
        vector = jnp.einsum("tid,kitn->kdn", design, vector.reshape(size, 3, length, number))
        away = jnp.where(present[:, 0], mean - paths[:, -1], 0.0)
        intensity = jnp.zeros(order).at[-1].set(precision)
        diagonal = jnp.einsum("kl,de,d->kdle", jnp.eye(size), jnp.eye(order), intensity)
        return PathFit(
            paths=paths,
            matrix=(matrix + diagonal[..., None]).reshape(size * order, -1, number),
            vector=vector.at[:, -1].add(precision * away).reshape(-1, number) * free,
            squares=jnp.sum(squares.reshape(length, number), axis=0)
            + jnp.sum(precision * away**2, axis=0),
        )

    def step(state: tuple[PathFit, Array], _: None) -> tuple[tuple[PathFit, Array], None]:
        fit, damping = state
        moved = damped_step(fit.matrix, fit.vector, free, damping)
        trial = equations(fit.paths + moved.reshape(start.shape))
        better = trial.squares < fit.squares
        kept = jax.tree.map(lambda new, old: jnp.where(better, new, old), trial, fit)
        return (kept, next_damping(damping, better)), None

    first = jnp.where(present, start, 0.0)
    state = equations(first), jnp.full(number, FIRST_DAMPING)
    return jax.lax.scan(step, state, length=_STEPS)[0][0]
