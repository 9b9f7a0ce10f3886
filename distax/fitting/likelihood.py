"""How well an ideal image explains the pixels, exactly and to second order."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erfc, log_ndtr
from jaxtyping import Array, Float

from distax.fitting.patch import ROUNDING_VARIANCE, Patch
from distax.imaging.psf import Psf, profiles

_EDGE_VARIANCE = 0.01
"""Variance in counts² that keeps the edge of a noise-free pixel from being a wall."""
_FAR = 8.0
"""Standard deviations from an edge beyond which a probability is taken from its asymptote."""


def image_of(
    scene: Float[Array, "K 3 lanes"], width: int, psf: Psf
) -> Float[Array, "pixels lanes"]:
    """The ideal image of each lane's scene in a window of `width` × `width` pixels."""
    row, column = _coordinates(scene, width)
    down, across = profiles(psf)
    rows, columns = down.response(*row, axis=1), across.response(*column, axis=1)
    images = (scene[:, 2, None] * rows)[:, :, :, None] * columns[:, :, None]
    return jnp.sum(images, axis=(0, 1)).reshape(width * width, -1)


def image_and_jacobian(
    scene: Float[Array, "K 3 lanes"], width: int, psf: Psf
) -> tuple[Float[Array, "pixels lanes"], Float[Array, "parameters pixels lanes"]]:
    """The ideal image and its derivatives by the scene's 3K parameters, in closed form."""
    intensity = scene[:, 2, None]
    row, column = _coordinates(scene, width)
    down, across = profiles(psf)
    # The barrier keeps XLA from computing them anew for every pixel that they are part of.
    rows, row_slopes, columns, column_slopes = jax.lax.optimization_barrier(
        (
            down.response(*row, axis=1),
            down.slope(*row, axis=1),
            across.response(*column, axis=1),
            across.slope(*column, axis=1),
        )
    )

    def outer(rows: Array, columns: Array) -> Float[Array, "K height width lanes"]:
        return jnp.sum(rows[:, :, :, None] * columns[:, :, None], axis=0)

    by_row = outer(intensity * row_slopes, columns)
    by_column = outer(intensity * rows, column_slopes)
    by_intensity = outer(rows, columns)
    image = jnp.sum(intensity[:, None] * by_intensity, axis=0)
    jacobian = jnp.stack([by_row, by_column, by_intensity], axis=1)
    lanes = scene.shape[-1]
    # The barrier keeps XLA from computing both anew inside each of their consumers.
    return jax.lax.optimization_barrier(
        (image.reshape(-1, lanes), jacobian.reshape(-1, width * width, lanes))
    )


def _coordinates(
    scene: Float[Array, "K 3 lanes"], width: int
) -> list[tuple[Float[Array, "K lanes"], np.ndarray]]:
    """Along rows and along columns: the targets and the window's pixels, from its centre."""
    pixels = np.arange(width) - (width - 1) / 2
    return [(scene[:, axis], pixels) for axis in (0, 1)]


def relative_noise(patch: Patch) -> Float[Array, ""]:
    """Standard deviation of all noise, in units of that of rounding to whole counts."""
    return jnp.sqrt(jnp.mean(patch.variance + patch.rounding) / ROUNDING_VARIANCE)


def log_likelihood(
    image: Float[Array, "pixels lanes"], patch: Patch, blur: float | Float[Array, ""]
) -> Float[Array, " lanes"]:
    """Logarithm of the probability of what the pixels read, given the ideal image.

    Exact for Gaussian noise under rounding and clipping: each pixel contributes the probability
    that ideal value plus noise falls between its edges.

    Args:
      image: ideal images.
      patch: the pixels, of as many lanes or of one.
      blur: standard deviation in counts of noise beyond the sensor's; a sampler lowers it in
        steps. It must not be zero unless every pixel has noise of its own.
    """
    deviation = jnp.sqrt(patch.variance + blur**2)
    low, high = (patch.lower - image) / deviation, (patch.upper - image) / deviation
    # Mirrored where needed so that the nearer edge is `near`, on the positive side if either is.
    mirrored = low + high < 0
    near = jnp.where(mirrored, -high, low)
    far = jnp.where(mirrored, -low, high)
    inside = 0.5 * (erfc(near / math.sqrt(2)) - erfc(far / math.sqrt(2)))
    reach = jnp.maximum(near, 1.0)
    asymptote = -0.5 * reach**2 - jnp.log(reach * math.sqrt(2 * math.pi))
    # Less what lies beyond the farther edge, where the density has fallen by exp(-reach · width).
    width = jnp.maximum((patch.upper - patch.lower) / deviation, 1e-30)
    asymptote += jnp.log(-jnp.expm1(-reach * width))
    exact = jnp.log(jnp.maximum(inside, 1e-30))
    return jnp.sum(jnp.where(near < _FAR, exact, asymptote), axis=0)


def residual_and_weight(
    image: Float[Array, "pixels *#lanes"], patch: Patch, blur: float | Float[Array, ""]
) -> tuple[Float[Array, "pixels *#lanes"], Float[Array, "pixels *#lanes"]]:
    """What least squares sees: residuals in counts and weights in 1/counts².

    Rounding counts as noise of the variance the patch has for it. A pixel with one edge, clipped or
    reading zero, pulls towards its edge only while the image lies beyond it; one without edges has
    no weight.
    """
    no_lower, no_upper = jnp.isinf(patch.lower), jnp.isinf(patch.upper)
    short = jnp.where(no_lower, 0.0, jnp.maximum(patch.lower - image, 0.0))
    over = jnp.where(no_upper, 0.0, jnp.maximum(image - patch.upper, 0.0))
    one_sided = no_lower | no_upper
    residual = jnp.where(one_sided, short - over, patch.counts - image)
    speaks = ~one_sided | (residual != 0.0)
    weight = jnp.where(speaks, 1.0 / (patch.variance + blur**2 + patch.rounding), 0.0)
    return residual, weight


def censored(
    image: Float[Array, "pixels lanes"], patch: Patch
) -> tuple[
    Float[Array, "pixels lanes"], Float[Array, "pixels lanes"], Float[Array, "pixels lanes"]
]:
    """As `residual_and_weight` for maximum likelihood, which leaves no bias (the Tobit model).

    A pixel with one edge has the probability of lying beyond it, whether the image does or not;
    its residual and weight are those of the parabola that touches the logarithm there.

    Returns:
      Residuals in counts, weights in 1/counts², and −2 log probability up to a constant: the
      weighted squares of pixels with two edges.
    """
    no_lower, no_upper = jnp.isinf(patch.lower), jnp.isinf(patch.upper)
    one_sided, silent = no_lower != no_upper, no_lower & no_upper
    extra = jnp.where(one_sided, _EDGE_VARIANCE, patch.rounding)
    spread = jnp.sqrt(patch.variance + extra)
    sign = jnp.where(no_upper, 1.0, -1.0)
    edge = jnp.where(one_sided, jnp.where(no_upper, patch.lower, patch.upper), 0.0)
    beyond = sign * (image - edge) / spread
    log_probability = log_ndtr(beyond)
    near = jnp.exp(-0.5 * beyond**2 - log_probability) / math.sqrt(2 * math.pi)
    hazard = jnp.where(beyond < -_FAR, -beyond, near)
    # Below by less than the true value, so that rounding far from the edge does no harm.
    slope = jnp.maximum(hazard + beyond, 1 / (2 + jnp.abs(beyond)))
    residual = jnp.where(one_sided, sign * spread / slope, patch.counts - image)
    weight = jnp.where(one_sided, hazard * slope, 1.0) / spread**2
    residual, weight = (jnp.where(silent, 0.0, part) for part in (residual, weight))
    return residual, weight, jnp.where(one_sided, -2 * log_probability, weight * residual**2)


def normal_equations(
    scene: Float[Array, "K 3 lanes"],
    patch: Patch,
    blur: float | Float[Array, ""],
    width: int,
    psf: Psf,
) -> tuple[
    Float[Array, "pixels lanes"],
    Float[Array, "D D lanes"],
    Float[Array, "D lanes"],
    Float[Array, " lanes"],
]:
    """The image, Gauss–Newton's matrix JᵀWJ and vector JᵀWr, and the sum of squares rᵀWr."""
    image, jacobian = image_and_jacobian(scene, width, psf)
    residual, weight = jax.lax.optimization_barrier(residual_and_weight(image, patch, blur))
    weighted = jax.lax.optimization_barrier(jacobian * weight)
    # A plain loop: the batched product that einsum would call handles one lane after the other.
    matrix = sum(
        (weighted[:, None, p] * jacobian[None, :, p] for p in range(len(image))),
        start=jnp.zeros((len(jacobian), *weighted.shape[:1], weighted.shape[-1])),
    )
    vector = jnp.sum(weighted * residual, axis=1)
    squares = jnp.sum(weight * residual**2, axis=0)
    return jax.lax.optimization_barrier((image, matrix, vector, squares))
