"""One look back at the image: positions and intensities moved to where they explain it.

A Gaussian stands for what the network knows of each position and the prior of each intensity;
damped Gauss-Newton steps find the most probable explanation of the pixels that are not clipped.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from distax.imaging.psf import responses, slopes
from distax.imaging.sensor import Sensor
from distax.models.density.view import View
from distax.runtime.pytree import pytree

_STEPS = 6
_LARGEST_MOVE = 0.1  # pixels, and in a step
# Misfit below which a first step has found an explanation: larger ones left the region in which
# the image is nearly linear in the positions.
_EXPLAINED = 2.0
# The network's covariance was learned from such images, so it is no second witness of this one:
# where the image decides, it only keeps the steps near.
_WEAKER = 9.0
# Largest standard deviation in pixels that one Gaussian can stand for.
_SHARP = 0.05


@pytree
class Adjusted:
    """Targets of one image after the look back.

    Attributes:
      position: `[K, 2]` in pixels.
      intensity, intensity_std: `[K]` in counts.
      covariance: `[K, 2, 2]` of the position in px².
      sharp: whether every position is known so well that its covariance says all.
      misfit: see `Targets`; of the most probable explanation.
      strain: largest deviation of an intensity from the prior's mean, in standard deviations.
    """

    position: Float[Array, "K 2"]
    intensity: Float[Array, " K"]
    intensity_std: Float[Array, " K"]
    covariance: Float[Array, "K 2 2"]
    sharp: Bool[Array, ""]
    misfit: Float[Array, ""]
    strain: Float[Array, ""]


@pytree
class Pixels:
    """What the pixels of one image are worth as witnesses of its targets.

    Attributes:
      light: `[side, side]`, counts above the background in a window whose first pixel is at (0, 0).
      weight: `[side, side]`, their inverse variances; zero for those clipped or beyond the image.
      beyond: weighted sum of squares of the counts outside the window, where there is no target.
      informative: number of pixels, of all of the image's, that could read less as well as more.
    """

    light: Float[Array, "*batch side side"]
    weight: Float[Array, "*batch side side"]
    beyond: Float[Array, "*batch"]
    informative: Float[Array, "*batch"]


def weigh_pixels(images: Float[Array, "B height width"], view: View, sensor: Sensor) -> Pixels:
    """The pixels in the views of raw images, and what the others say, by the sensor's noise."""
    level = view.window + sensor.background
    variance = sensor.noise_variance(level) + sensor.rounding_variance
    dark = sensor.noise_variance(jnp.array(sensor.background, float)) + sensor.rounding_variance
    told = images < sensor.white
    if sensor.bit_depth is not None:
        told &= images > 0
    return Pixels(
        light=view.window,
        weight=jnp.where(view.real & (level < sensor.white), 1 / variance, 0.0),
        beyond=view.beyond / dark,
        informative=jnp.maximum(jnp.sum(told, axis=(1, 2), dtype=float), 1.0),
    )


def adjust(
    pixels: Pixels,
    position: Float[Array, "K 2"],
    covariance: Float[Array, "K 2 2"],
    mask: Bool[Array, " K"],
    sensor: Sensor,
    prior: tuple[float, float],
) -> Adjusted:
    """Positions, intensities and their uncertainty given the image as well as the network.

    Only where every position is nearly known does a Gaussian describe what is left to learn.
    Elsewhere a position moves if one step explains the image, and the rest stays as it was.

    Args:
      pixels: of one image.
      position, covariance, mask: what the network knows.
      sensor: the imaging model.
      prior: mean and standard deviation of the intensities in counts.
    """
    mean, spread = prior
    slots = len(mask)

    def misfit(state: Float[Array, " states"]) -> Float[Array, ""]:
        image = _predict(state, mask, len(pixels.light), sensor)[0]
        squares = (pixels.light.ravel() - image) ** 2 @ pixels.weight.ravel() + pixels.beyond
        return jnp.sqrt(squares / pixels.informative)

    first, final, precision = _most_probable(pixels, position, covariance, mask, sensor, prior)
    posterior = jnp.linalg.inv(precision)
    std = jnp.sqrt(jnp.diagonal(posterior))[2 * slots :]
    blocks = posterior[: 2 * slots, : 2 * slots].reshape(slots, 2, slots, 2)
    known = jnp.diagonal(covariance, axis1=-2, axis2=-1) < _SHARP**2
    explained = misfit(first) < _EXPLAINED
    sharp = explained & jnp.all(known | ~mask[:, None])
    best = jnp.where(sharp, final, first)
    return Adjusted(
        position=jnp.where(explained, best[: 2 * slots].reshape(slots, 2), position),
        intensity=jnp.where(sharp, best[2 * slots :], mean),
        intensity_std=jnp.where(sharp, std, spread),
        covariance=jnp.where(sharp, jnp.einsum("kikj->kij", blocks), covariance),
        sharp=sharp,
        misfit=misfit(final),
        strain=jnp.max(jnp.abs(final[2 * slots :] - mean) * mask) / spread,
    )


def _most_probable(
    pixels: Pixels,
    position: Float[Array, "K 2"],
    covariance: Float[Array, "K 2 2"],
    mask: Bool[Array, " K"],
    sensor: Sensor,
    prior: tuple[float, float],
) -> tuple[Float[Array, " states"], Float[Array, " states"], Float[Array, "states states"]]:
    """The state (see `_predict`) after one step and after all, and its precision at the end."""
    mean, spread = prior
    slots = len(mask)
    light, weight = pixels.light.ravel(), pixels.weight.ravel()
    start = jnp.concatenate([position.ravel(), jnp.full(slots, mean)])
    full = _prior_precision(covariance, mask, spread)
    weak = _prior_precision(_WEAKER * covariance, mask, spread)
    limit = _LARGEST_MOVE * jnp.repeat(jnp.array([1.0, 1.0, mean]), slots)

    def step(state: Array, pull: Array) -> tuple[Array, Array]:
        image, slope = _predict(state, mask, len(pixels.light), sensor)
        precision = (slope * weight) @ slope.T + pull
        gradient = slope @ (weight * (light - image)) - pull @ (state - start)
        move = jnp.linalg.solve(precision, gradient)
        return state + jnp.clip(move, -limit, limit), precision

    first = step(start, full)[0]
    final, precision = jax.lax.fori_loop(
        1, _STEPS, lambda _, now: step(now[0], weak), (first, full)
    )
    return first, final, precision


def _prior_precision(
    covariance: Float[Array, "K 2 2"], mask: Bool[Array, " K"], spread: float
) -> Float[Array, "states states"]:
    inverse = jnp.linalg.inv(jnp.where(mask[:, None, None], covariance, jnp.eye(2)))
    position = jax.scipy.linalg.block_diag(*inverse)
    return jax.scipy.linalg.block_diag(position, jnp.eye(len(mask)) / spread**2)


def _predict(
    state: Float[Array, " states"],
    mask: Bool[Array, " K"],
    side: int,
    sensor: Sensor,
) -> tuple[Float[Array, " pixels"], Float[Array, "states pixels"]]:
    """The image of a state (positions, then intensities), and its derivatives."""
    slots = len(mask)
    position, intensity = state[: 2 * slots].reshape(slots, 2), state[2 * slots :]

    row, column = responses(position, (side, side), sensor.psf)
    row_slope, column_slope = slopes(position, (side, side), sensor.psf)
    used = mask.astype(float)

    def outer(scale: Array, rows: Array, columns: Array) -> Array:
        return jnp.einsum("k,tki,tkj->kij", scale, rows, columns).reshape(slots, -1)

    share = outer(used, row, column)
    flux = used * intensity
    along = jnp.stack([outer(flux, row_slope, column), outer(flux, row, column_slope)], axis=1)
    return intensity @ share, jnp.concatenate([along.reshape(2 * slots, -1), share])
