"""Joint fit of a Gaussian PSF to isolated sources, by maximum likelihood.

A source has four parameters of its own: row and column in pixels from the centre of its window,
flux in counts, and background in counts above the sensor's. All sources share the two widths of the
PSF. Given the widths the sources are independent. So each Gauss–Newton step eliminates the sources'
parameters from the normal equations, and solves the remaining equations for the widths (the Schur
complement; Triggs et al., "Bundle adjustment: a modern synthesis", 2000, section 6.1). The cost
grows linearly with the number of sources, and no matrix is larger than 6×6.

As every source adds four parameters, a bias of order 1/SNR² remains for any number of sources
(Neyman & Scott, Econometrica 16, 1948). At an SNR of 20 it is about half of the error stated for
ten sources.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from distax.fitting.likelihood import censored
from distax.fitting.patch import Patch
from distax.imaging.forward import image_of, window_axes
from distax.imaging.least_squares import FIRST_DAMPING, damped, next_damping, normal_equations
from distax.runtime.algebra import cholesky, solve, solve_lower
from distax.runtime.pytree import pytree

SOURCE, WIDTHS = slice(0, 4), slice(4, 6)
"""Slices of the six parameters: the source's own four, and the two widths."""
_STEPS = 20
"""Gauss–Newton steps of a fit. Most fits converge in fewer, but the number is fixed so that one
compiled program serves all of them."""
MIN_SIGMA, MAX_SIGMA = 0.2, 4.0
"""Bounds in pixels of the fitted widths. A narrower PSF puts nearly all flux into one pixel, which
then does not constrain the width; a wider one cannot be told from the background of a window."""
_MAX_OFFSET = 1.0
"""Largest distance in pixels, along each axis, of a source from the centre of its window. With a
smaller one noise moves sources to the bound; with a larger one a fit may move to another source."""


@pytree
class PsfFit:
    """Fitted sources, and the normal equations at the fit.

    Attributes:
      parameters: row, column, flux, background, and the PSF's standard deviations over rows and
        over columns. The last two are equal for all sources of a shared fit.
      image: expected counts above the sensor's background.
      residual, weight: residuals in counts and weights in 1/counts²; see `likelihood.censored`.
      matrix, vector: JᵀWJ and JᵀWr of each source, with the Jacobian J, weights W and residuals r.
      deviance: −2 log likelihood of each source, up to a constant.
    """

    parameters: Float[Array, "6 sources"]
    image: Float[Array, "pixels sources"]
    residual: Float[Array, "pixels sources"]
    weight: Float[Array, "pixels sources"]
    matrix: Float[Array, "6 6 sources"]
    vector: Float[Array, "6 sources"]
    deviance: Float[Array, " sources"]


@pytree
class _State:
    fit: PsfFit
    damping: Float[Array, " sources"]


@partial(jax.jit, static_argnames="side")
def fit_psf(
    start: Float[Array, "6 sources"],
    patch: Patch,
    min_background: Float[Array, " sources"],
    used: Bool[Array, " sources"],
    side: int,
    shared: bool | Bool[Array, ""],
    round_psf: bool | Bool[Array, ""],
) -> PsfFit:
    """Fits sources and a Gaussian PSF by damped Gauss–Newton steps (Levenberg–Marquardt).

    Clipped pixels and pixels that read zero enter with the probability of lying beyond their edge
    (a censored likelihood, the Tobit model). So bright sources that clip bias neither flux nor
    width.

    Args:
      start: parameters as in `PsfFit`.
      patch: windows around the sources; `variance` is the noise variance that weights the pixels.
      min_background: lower bounds of the backgrounds in counts.
      used: True for sources that constrain a shared width; the others only follow it.
      side: side of the windows in pixels.
      shared: True if all sources have the same PSF; False fits a PSF to each source.
      round_psf: True if both widths change by the same step, and so stay equal.
    """

    def pool(each: Array) -> Array:
        total = jnp.sum(jnp.where(used, each, 0.0), axis=-1, keepdims=True)
        return jnp.where(shared, total, each)

    def solve_for_widths(matrix: Array, vector: Array) -> Array:
        matrix, vector = pool(matrix), pool(vector)
        # One common step for both widths: its normal equation is the sum of all entries.
        common = jnp.sum(vector, axis=0) / jnp.sum(matrix, axis=(0, 1))
        return jnp.where(round_psf, common, solve(cholesky(matrix), vector))

    def step(state: _State, _: None) -> tuple[_State, None]:
        proposal = state.fit.parameters + _step(state, min_background, solve_for_widths)
        trial = _evaluate_gaussian(_clip_to_bounds(proposal, min_background), patch, side)
        # A shared width makes all sources accept or reject a step together.
        better = pool(trial.deviance - state.fit.deviance) < 0
        damping = next_damping(state.damping, better)
        fit = jax.tree.map(lambda new, old: jnp.where(better, new, old), trial, state.fit)
        return _State(fit=fit, damping=damping), None

    first = _evaluate_gaussian(_clip_to_bounds(start, min_background), patch, side)
    state = _State(fit=first, damping=jnp.full(start.shape[-1], FIRST_DAMPING))
    return jax.lax.scan(step, state, length=_STEPS)[0].fit


def _evaluate_gaussian(parameters: Float[Array, "6 sources"], patch: Patch, side: int) -> PsfFit:
    return evaluate_fit(parameters, *image_and_jacobian(parameters, side), patch)


def evaluate_fit(
    parameters: Float[Array, "6 sources"],
    image: Float[Array, "pixels sources"],
    jacobian: Float[Array, "6 pixels sources"],
    patch: Patch,
) -> PsfFit:
    """Compares expected images with the pixels, and builds each source's normal equations.

    Args:
      parameters: parameters as in `PsfFit`.
      image: expected counts with these parameters.
      jacobian: derivatives of the image by the parameters.
      patch: the pixels.
    """
    residual, weight, deviance = censored(image, patch)
    matrix, vector, _ = normal_equations(jacobian, residual, weight)
    return PsfFit(
        parameters=parameters,
        image=image,
        residual=residual,
        weight=weight,
        matrix=matrix,
        vector=vector,
        deviance=jnp.sum(deviance, axis=0),
    )


def image_and_jacobian(
    parameters: Float[Array, "6 sources"], side: int
) -> tuple[Float[Array, "pixels sources"], Float[Array, "6 pixels sources"]]:
    """Returns the expected counts of each source's window, and their derivatives."""

    def image(parameters: Array) -> Array:
        row_sigma, column_sigma = parameters[WIDTHS]
        return (
            image_of(parameters[None, :3], window_axes(side), (row_sigma, column_sigma))
            + parameters[3]
        )

    def derivative(direction: Array) -> Array:
        return jax.jvp(image, (parameters,), (direction,))[1]

    # Forward mode, one pass a parameter: all sources share a pass, as none depends on another.
    directions = jnp.broadcast_to(
        jnp.eye(len(parameters))[:, :, None], (len(parameters), *parameters.shape)
    )
    return image(parameters), jax.vmap(derivative)(directions)


def _step(
    state: _State,
    min_background: Float[Array, " sources"],
    solve_for_widths: Callable[[Array, Array], Array],
) -> Float[Array, "6 sources"]:
    """Returns a damped Gauss–Newton step; a parameter that would leave its bounds stays fixed."""
    fit = state.fit
    low, high = _bounds(fit.parameters, min_background)
    held = (fit.parameters <= low) & (fit.vector < 0)
    held |= (fit.parameters >= high) & (fit.vector > 0)
    # The widths are never held, as the step of a shared width is known only after the pooling.
    free = jnp.where(held, 0.0, 1.0).at[WIDTHS].set(1.0)
    matrix = damped(fit.matrix, free, state.damping)
    reduced_matrix, reduced_vector, step, response = eliminate_sources(matrix, fit.vector * free)
    widths = solve_for_widths(reduced_matrix, reduced_vector)
    return jnp.concatenate([step - jnp.sum(response * widths, axis=1), widths])


def eliminate_sources(
    matrix: Float[Array, "6 6 sources"], vector: Float[Array, "6 sources"]
) -> tuple[
    Float[Array, "2 2 sources"],
    Float[Array, "2 sources"],
    Float[Array, "4 sources"],
    Float[Array, "4 2 sources"],
]:
    """Eliminates each source's own parameters from its normal equations (Schur complement).

    With the blocks A of a source's own parameters, B across, and C of the widths, the equations
    A x + B w = a and Bᵀ x + C w = c become (C − Bᵀ A⁻¹ B) w = c − Bᵀ A⁻¹ a for the widths w, and
    x = A⁻¹ a − A⁻¹ B w for the source. The reduced equations of all sources can be added up. The
    reduced matrix is also the information about the widths that accounts for the unknown sources.

    Returns:
      C − Bᵀ A⁻¹ B, c − Bᵀ A⁻¹ a, A⁻¹ a and A⁻¹ B.
    """
    factor = cholesky(matrix[SOURCE, SOURCE])
    step = solve(factor, vector[SOURCE])
    across = matrix[SOURCE, WIDTHS]
    response = jnp.stack([solve(factor, column) for column in across.swapaxes(0, 1)], axis=1)
    reduced_matrix = matrix[WIDTHS, WIDTHS] - jnp.sum(
        across[:, :, None] * response[:, None], axis=0
    )
    reduced_vector = vector[WIDTHS] - jnp.sum(across * step[:, None], axis=0)
    return reduced_matrix, reduced_vector, step, response


@partial(jax.jit, static_argnames=("side", "shared"))
def residual_dof(fit: PsfFit, side: int, shared: bool = True) -> Float[Array, "pixels sources"]:
    """Returns the degrees of freedom that each residual keeps, between 0 and 1.

    They are 1 minus the leverage, the diagonal of the hat matrix J (JᵀWJ)⁻¹ JᵀW of a source's own
    parameters. The squared residual is expected to be this share of the pixel's variance.

    Args:
      fit: the fit.
      side: side of the windows in pixels.
      shared: False if each source has widths of its own, which take degrees of freedom as well.
    """
    _, jacobian = image_and_jacobian(fit.parameters, side)
    own = SOURCE if shared else slice(SOURCE.start, WIDTHS.stop)
    factor = cholesky(fit.matrix[own, own])
    whitened = jax.vmap(solve_lower, in_axes=(None, 1), out_axes=1)(factor, jacobian[own])
    return jnp.clip(1 - fit.weight * jnp.sum(whitened**2, axis=0), 0.0, 1.0)


def _bounds(
    parameters: Float[Array, "6 sources"], min_background: Float[Array, " sources"]
) -> tuple[Float[Array, "6 sources"], Float[Array, "6 sources"]]:
    offset = jnp.full_like(parameters[:2], _MAX_OFFSET)
    unbounded = jnp.full_like(min_background, jnp.inf)
    widths = jnp.ones_like(parameters[WIDTHS])
    low = jnp.concatenate(
        [-offset, 0 * min_background[None], min_background[None], MIN_SIGMA * widths]
    )
    high = jnp.concatenate([offset, unbounded[None], unbounded[None], MAX_SIGMA * widths])
    return low, high


def _clip_to_bounds(
    parameters: Float[Array, "6 sources"], min_background: Float[Array, " sources"]
) -> Float[Array, "6 sources"]:
    return jnp.clip(parameters, *_bounds(parameters, min_background))
