"""Damped least squares (Levenberg–Marquardt) within bounds, one problem a lane."""

from dataclasses import replace

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distax.fitting.algebra import cholesky, solve
from distax.fitting.damping import FIRST_DAMPING, damped, next_damping
from distax.fitting.likelihood import normal_equations
from distax.fitting.patch import Patch
from distax.imaging.psf import Psf
from distax.runtime.pytree import pytree


@pytree
class Bounds:
    """Box that a fit stays in, `[K, 3, lanes]`, and that a uniform prior fills."""

    lower: Float[Array, "K 3 lanes"]
    upper: Float[Array, "K 3 lanes"]

    @property
    def centre(self) -> Float[Array, "K 3 lanes"]:
        """The prior's mean."""
        return (self.lower + self.upper) / 2

    @property
    def precision(self) -> Float[Array, "K 3 lanes"]:
        """Inverse variance of the prior, in 1/(px or counts)²."""
        return 12.0 / (self.upper - self.lower) ** 2


@pytree
class Fit:
    """Scenes that fit best near their starting points.

    Attributes:
      scene: the fitted scenes.
      matrix: Gauss–Newton's matrix JᵀWJ there, the prior's precision included, in
        1/(px or counts)².
      squares: weighted sum of squares there, the prior's included.
    """

    scene: Float[Array, "K 3 lanes"]
    matrix: Float[Array, "D D lanes"]
    squares: Float[Array, " lanes"]


@pytree
class _State:
    fit: Fit
    vector: Float[Array, "D lanes"]
    damping: Float[Array, " lanes"]


def fit(
    start: Float[Array, "K 3 lanes"],
    patch: Patch,
    bounds: Bounds,
    width: int,
    psf: Psf,
    steps: int,
) -> Fit:
    """The best fit near each start after a fixed number of damped Gauss–Newton steps.

    The uniform prior pulls as the Gaussian of the same mean and variance would, so that what the
    image does not determine ends in the middle rather than anywhere. A parameter at a bound that
    the step would leave is held there. The damping falls after a step that lowered the sum of
    squares and rises after one that did not, which is taken back.
    """
    size, lanes = start.shape[0] * 3, start.shape[-1]
    # Nothing is known yet: the first trial is the start itself, and better than this.
    unknown = Fit(
        scene=start,
        matrix=jnp.broadcast_to(jnp.eye(size)[:, :, None], (size, size, lanes)),
        squares=jnp.full(lanes, jnp.inf),
    )
    state = _State(
        fit=unknown, vector=jnp.zeros((size, lanes)), damping=jnp.full(lanes, FIRST_DAMPING)
    )

    def step(state: _State, _: None) -> tuple[_State, None]:
        scene = _trial(state, bounds)
        matrix, vector, squares = normal_equations(scene, patch, 0.0, width, psf)[1:]
        away, precision = scene - bounds.centre, bounds.precision
        matrix += jnp.eye(size)[:, :, None] * precision.reshape(size, 1, -1)
        vector -= (precision * away).reshape(size, -1)
        squares += jnp.sum(precision * away**2, axis=(0, 1))
        better = squares < state.fit.squares
        damping = next_damping(state.damping, better)
        trial = _State(
            fit=Fit(scene=scene, matrix=matrix, squares=squares), vector=vector, damping=damping
        )
        kept = jax.tree.map(lambda new, old: jnp.where(better, new, old), trial, state)
        return replace(kept, damping=damping), None

    return jax.lax.scan(step, state, length=steps + 1)[0].fit


def _trial(state: _State, bounds: Bounds) -> Float[Array, "K 3 lanes"]:
    scene, matrix = state.fit.scene, state.fit.matrix
    pull = state.vector.reshape(scene.shape)
    held = ((scene <= bounds.lower) & (pull < 0)) | ((scene >= bounds.upper) & (pull > 0))
    free = jnp.where(held, 0.0, 1.0).reshape(len(matrix), -1)
    matrix = damped(matrix, free, state.damping, floor=1e-6)
    step = solve(cholesky(jax.lax.optimization_barrier(matrix)), state.vector * free)
    return jnp.clip(scene + step.reshape(scene.shape), bounds.lower, bounds.upper)
