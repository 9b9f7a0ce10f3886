"""Likelihood of an ideal image given the pixels: exact, and by weighted least squares."""

import math

import jax
import jax.numpy as jnp
from jax.scipy.special import erfc, log_ndtr
from jaxtyping import Array, Float

from distax.fitting.patch import Patch
from distax.imaging.forward import image_and_jacobian
from distax.imaging.least_squares import normal_equations
from distax.imaging.psf import Psf
from distax.imaging.sensor import ROUNDING_VARIANCE

_EDGE_VARIANCE = 0.01
"""Variance in counts² added at the edge of a clipped pixel. Without noise the edge would be a wall,
at which Gauss–Newton steps end; more would blur what a clipped pixel excludes."""
_FAR = 8.0
"""Standard deviations from an edge beyond which a probability is taken from its asymptote, as
float32 loses the difference of two error functions there."""


def relative_noise(patch: Patch) -> Float[Array, ""]:
    """Returns the root-mean-square noise, in units of the noise of rounding to whole counts."""
    return jnp.sqrt(jnp.mean(patch.variance + patch.rounding) / ROUNDING_VARIANCE)


def log_likelihood(
    image: Float[Array, "pixels lanes"], patch: Patch, blur: float | Float[Array, ""]
) -> Float[Array, " lanes"]:
    """Computes the logarithm of the probability of the readings, given the ideal image.

    Exact for Gaussian noise under rounding and clipping: each pixel contributes the probability
    that its ideal value plus noise falls between its edges.

    Args:
      image: ideal images.
      patch: the pixels, of as many lanes or of one.
      blur: standard deviation in counts of noise beyond the sensor's, which a sampler lowers in
        steps. It must not be zero unless every pixel has noise of its own.
    """
    deviation = jnp.sqrt(patch.variance + blur**2)
    low, high = (patch.lower - image) / deviation, (patch.upper - image) / deviation
    # Mirrored where needed, so that `near` is the nearer edge and positive if either edge is.
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
    """Computes the residuals in counts and weights in 1/counts² of weighted least squares.

    Rounding counts as noise. A pixel with one edge, clipped or reading zero, has a residual only
    while the image lies on the wrong side of that edge. A pixel without edges has no weight.
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
    """Computes residuals and weights of maximum likelihood for censored pixels (Tobit model).

    A pixel with one edge contributes the probability of lying beyond it, wherever the image is. Its
    residual and weight are those of the parabola that touches the logarithm of that probability.
    Unlike `residual_and_weight` this leaves no bias.

    Source: Tobin, Econometrica 26 (1958).

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
    # A lower bound of hazard + beyond, which rounding would lose far from the edge.
    slope = jnp.maximum(hazard + beyond, 1 / (2 + jnp.abs(beyond)))
    residual = jnp.where(one_sided, sign * spread / slope, patch.counts - image)
    weight = jnp.where(one_sided, hazard * slope, 1.0) / spread**2
    residual, weight = (jnp.where(silent, 0.0, part) for part in (residual, weight))
    return residual, weight, jnp.where(one_sided, -2 * log_probability, weight * residual**2)


def scene_equations(
    scene: Float[Array, "K 3 lanes"], patch: Patch, blur: float | Float[Array, ""], psf: Psf
) -> tuple[
    Float[Array, "pixels lanes"],
    Float[Array, "D D lanes"],
    Float[Array, "D lanes"],
    Float[Array, " lanes"],
]:
    """Computes a scene's image, and its Gauss–Newton matrix, vector and sum of squares.

    See `least_squares.normal_equations`; the parameters are the scene's, target by target.
    """
    image, jacobian = image_and_jacobian(scene, patch.axes, psf)
    residual, weight = jax.lax.optimization_barrier(residual_and_weight(image, patch, blur))
    return image, *normal_equations(jacobian, residual, weight)
