"""Damped least squares (Levenberg–Marquardt) within bounds, one problem per lane."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distax.fitting.likelihood import scene_equations
from distax.fitting.patch import Patch
from distax.imaging.least_squares import FIRST_DAMPING, damped_step, next_damping
from distax.imaging.psf import Psf
from distax.runtime.pytree import pytree


@pytree
class Bounds:
    """The box `[K, 3, lanes]` that a fit stays in. The prior is uniform in it."""

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
    """Scenes at the end of their fits.

    Attributes:
      scene: the fitted scenes.
      matrix: Gauss–Newton's matrix JᵀWJ plus the prior's precision, in 1/(px or counts)².
      vector: Gauss–Newton's vector: the matrix times the next step without damping.
      squares: weighted sum of squares, the prior's included.
    """

    scene: Float[Array, "K 3 lanes"]
    matrix: Float[Array, "D D lanes"]
    vector: Float[Array, "D lanes"]
    squares: Float[Array, " lanes"]


@pytree
class _State:
    fit: Fit
    damping: Float[Array, " lanes"]


def fit(
    start: Float[Array, "K 3 lanes"],
    patch: Patch,
    bounds: Bounds,
    psf: Psf,
    steps: int,
) -> Fit:
    """Fits scenes by a fixed number of damped Gauss–Newton steps from each start.

    The uniform prior is replaced by the Gaussian of the same mean and variance. A parameter that
    the image does not determine then ends in the middle of its box. A parameter at a bound is held
    there if the step would leave the box. The damping falls after a step that lowered the sum of
    squares. Any other step is undone, and the damping rises.

    The number of steps is fixed, so that all lanes run the same program.

    Args:
      start: scenes to start from, in pixels from the window's centre and in counts.
      patch: the pixels, with as many lanes or with one.
      bounds: bounds of the scenes' parameters.
      psf: the sensor's PSF.
      steps: number of steps.
    """
    size, lanes = start.shape[0] * 3, start.shape[-1]
    # The zero vector makes the first trial the start itself, which is always accepted, because its
    # sum of squares is finite.
    unknown = Fit(
        scene=start,
        matrix=jnp.broadcast_to(jnp.eye(size)[:, :, None], (size, size, lanes)),
        vector=jnp.zeros((size, lanes)),
        squares=jnp.full(lanes, jnp.inf),
    )
    state = _State(fit=unknown, damping=jnp.full(lanes, FIRST_DAMPING))

    def step(state: _State, _: None) -> tuple[_State, None]:
        scene = _trial(state, bounds)
        matrix, vector, squares = scene_equations(scene, patch, 0.0, psf)[1:]
        away, precision = scene - bounds.centre, bounds.precision
        matrix += jnp.eye(size)[:, :, None] * precision.reshape(size, 1, -1)
        vector -= (precision * away).reshape(size, -1)
        squares += jnp.sum(precision * away**2, axis=(0, 1))
        better = squares < state.fit.squares
        damping = next_damping(state.damping, better)
        trial = Fit(scene=scene, matrix=matrix, vector=vector, squares=squares)
        kept = jax.tree.map(lambda new, old: jnp.where(better, new, old), trial, state.fit)
        return _State(fit=kept, damping=damping), None

    return jax.lax.scan(step, state, length=steps + 1)[0].fit


def _trial(state: _State, bounds: Bounds) -> Float[Array, "K 3 lanes"]:
    """Computes the next scene to try: a damped step from the best one so far, within the bounds."""
    scene, matrix = state.fit.scene, state.fit.matrix
    pull = state.fit.vector.reshape(scene.shape)
    held = ((scene <= bounds.lower) & (pull < 0)) | ((scene >= bounds.upper) & (pull > 0))
    free = jnp.where(held, 0.0, 1.0).reshape(len(matrix), -1)
    step = damped_step(matrix, state.fit.vector, free, state.damping)
    return jnp.clip(scene + step.reshape(scene.shape), bounds.lower, bounds.upper)
