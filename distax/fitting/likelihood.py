"""Likelihood of an ideal image given the pixels: exact, by least squares, or by a Tobit model."""

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
"""Variance in counts² added at the edge of a clipped pixel. Without noise the probability would
jump at the edge, and Gauss–Newton steps would stop there. A larger variance weakens the constraint
of clipped pixels."""
_FAR = 8.0
"""If an image lies farther outside the edges than this many standard deviations, the probability is
computed from its asymptote. There float32 loses the difference of two error functions. Nearer to
the edges the asymptote is less exact."""


def relative_noise(patch: Patch) -> Float[Array, ""]:
    """Returns the root-mean-square noise of all pixels, relative to that of rounding to counts."""
    return jnp.sqrt(jnp.mean(patch.variance + patch.rounding) / ROUNDING_VARIANCE)


def log_likelihood(
    image: Float[Array, "pixels lanes"], patch: Patch, extra_noise: float | Float[Array, ""]
) -> Float[Array, " lanes"]:
    """Computes the logarithm of the probability of the readings, given the ideal image.

    It is exact for Gaussian noise with rounding and clipping. Each pixel contributes the
    probability that its ideal value plus noise falls between its edges.

    Args:
      image: ideal images in counts.
      patch: the pixels, with as many lanes as `image` or with one.
      extra_noise: standard deviation in counts of noise in addition to the sensor's, which a
        sampler lowers in steps. It may be zero only if every pixel has noise of its own.
    """
    deviation = jnp.sqrt(patch.variance + extra_noise**2)
    low, high = (patch.lower - image) / deviation, (patch.upper - image) / deviation
    # Both edges are mirrored if the image lies nearer to the upper one. Then `near` is the nearer
    # edge, and it is positive whenever the image lies outside the edges.
    mirrored = low + high < 0
    near = jnp.where(mirrored, -high, low)
    far = jnp.where(mirrored, -low, high)
    inside = 0.5 * (erfc(near / math.sqrt(2)) - erfc(far / math.sqrt(2)))
    reach = jnp.maximum(near, 1.0)
    asymptote = -0.5 * reach**2 - jnp.log(reach * math.sqrt(2 * math.pi))
    # The tail beyond the farther edge is subtracted. The density has fallen by exp(-reach · width)
    # there.
    width = jnp.maximum((patch.upper - patch.lower) / deviation, 1e-30)
    asymptote += jnp.log(-jnp.expm1(-reach * width))
    exact = jnp.log(jnp.maximum(inside, 1e-30))
    return jnp.sum(jnp.where(near < _FAR, exact, asymptote), axis=0)


def residual_and_weight(
    image: Float[Array, "pixels *#lanes"], patch: Patch, extra_noise: float | Float[Array, ""]
) -> tuple[Float[Array, "pixels *#lanes"], Float[Array, "pixels *#lanes"]]:
    """Computes the residuals in counts and weights in 1/counts² of weighted least squares.

    The rounding error is treated as noise. A pixel with one edge (clipped, or reading zero) has a
    residual only if the image lies on the wrong side of that edge. A pixel without edges has no
    weight.
    """
    no_lower, no_upper = jnp.isinf(patch.lower), jnp.isinf(patch.upper)
    short = jnp.where(no_lower, 0.0, jnp.maximum(patch.lower - image, 0.0))
    over = jnp.where(no_upper, 0.0, jnp.maximum(image - patch.upper, 0.0))
    one_sided = no_lower | no_upper
    residual = jnp.where(one_sided, short - over, patch.counts - image)
    constrains = ~one_sided | (residual != 0.0)
    weight = jnp.where(constrains, 1.0 / (patch.variance + extra_noise**2 + patch.rounding), 0.0)
    return residual, weight


def censored(
    image: Float[Array, "pixels lanes"], patch: Patch
) -> tuple[
    Float[Array, "pixels lanes"], Float[Array, "pixels lanes"], Float[Array, "pixels lanes"]
]:
    """Computes residuals and weights of maximum likelihood for censored pixels (Tobit model).

    A pixel with one edge contributes the probability of a value beyond that edge, on whichever side
    the image lies. Its residual and weight are those of the parabola that touches the logarithm of
    this probability. Unlike `residual_and_weight` this gives no bias.

    Source: Tobin, Econometrica 26 (1958).

    Returns:
      Residuals in counts, weights in 1/counts², and −2 log probability up to a constant. For a
      pixel with two edges the last is the weighted square of its residual.
    """
    no_lower, no_upper = jnp.isinf(patch.lower), jnp.isinf(patch.upper)
    one_sided, unknown = no_lower != no_upper, no_lower & no_upper
    extra = jnp.where(one_sided, _EDGE_VARIANCE, patch.rounding)
    spread = jnp.sqrt(patch.variance + extra)
    sign = jnp.where(no_upper, 1.0, -1.0)
    edge = jnp.where(one_sided, jnp.where(no_upper, patch.lower, patch.upper), 0.0)
    beyond = sign * (image - edge) / spread
    log_probability = log_ndtr(beyond)
    near = jnp.exp(-0.5 * beyond**2 - log_probability) / math.sqrt(2 * math.pi)
    hazard = jnp.where(beyond < -_FAR, -beyond, near)
    # Far beyond the edge the sum is smaller than float32 resolves. A lower bound replaces it.
    slope = jnp.maximum(hazard + beyond, 1 / (2 + jnp.abs(beyond)))
    residual = jnp.where(one_sided, sign * spread / slope, patch.counts - image)
    weight = jnp.where(one_sided, hazard * slope, 1.0) / spread**2
    residual, weight = (jnp.where(unknown, 0.0, part) for part in (residual, weight))
    return residual, weight, jnp.where(one_sided, -2 * log_probability, weight * residual**2)


def scene_equations(
    scene: Float[Array, "K 3 lanes"], patch: Patch, extra_noise: float | Float[Array, ""], psf: Psf
) -> tuple[
    Float[Array, "pixels lanes"],
    Float[Array, "D D lanes"],
    Float[Array, "D lanes"],
    Float[Array, " lanes"],
]:
    """Computes a scene's image, and its Gauss–Newton matrix, vector and sum of squares.

    See `least_squares.normal_equations`. The parameters are row, column and intensity of the first
    target, then of the second, and so on.
    """
    image, jacobian = image_and_jacobian(scene, patch.axes, psf)
    residual, weight = jax.lax.optimization_barrier(residual_and_weight(image, patch, extra_noise))
    return image, *normal_equations(jacobian, residual, weight)
