"""Adjusts the network's answer to the image by Gauss–Newton steps of limited length.

The network's density of a position is approximated by a Gaussian, and so is the prior of the
intensities. Gauss–Newton steps find the most probable scene given the pixels that are not clipped.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from distax.imaging.forward import image_and_jacobian, image_axes
from distax.imaging.least_squares import normal_equations
from distax.imaging.sensor import Sensor
from distax.models.density.view import View
from distax.runtime.algebra import cholesky, solve
from distax.runtime.pytree import pytree

_STEPS = 6
"""Number of steps. The first one decides whether the image is explained. More steps take longer,
and fewer may end before the most probable scene."""
_LARGEST_MOVE = 0.1
"""Largest change in a step: of a position in pixels, of an intensity as a share of its mean. Larger
steps leave the region in which the image is nearly linear in the positions."""
_EXPLAINED = 2.0
"""If the misfit after the first step is below this, the image counts as explained. A higher limit
moves positions to poor explanations; a lower one leaves good explanations unused."""
_WEAKER = 9.0
"""Factor on the network's covariance after the first step. The network has seen the same pixels, so
its answer is not independent evidence. Its only use is to keep the steps near it. A larger factor
lets them go farther, a smaller one counts the pixels twice."""
_SHARP = 0.05
"""Largest standard deviation in pixels of a position that is described by one Gaussian. A larger
one also describes densities with several modes by a Gaussian; a smaller one adjusts fewer targets.
"""


@pytree
class Adjusted:
    """Adjusted targets of a batch of images.

    Attributes:
      position: row and column in pixels of the window.
      intensity, intensity_std: intensity and its standard deviation in counts.
      covariance: covariance of the position in px².
      sharp: True for images in which one Gaussian describes every position.
      misfit: misfit of the most probable scene; see `Targets`.
      strain: largest deviation of an intensity from the prior's mean, in standard deviations.
    """

    position: Float[Array, "B K 2"]
    intensity: Float[Array, "B K"]
    intensity_std: Float[Array, "B K"]
    covariance: Float[Array, "B K 2 2"]
    sharp: Bool[Array, " B"]
    misfit: Float[Array, " B"]
    strain: Float[Array, " B"]


@pytree
class Pixels:
    """The pixels of a batch of images and their weights, images on the last axis.

    Attributes:
      counts: counts above the background, in a window whose first pixel is at (0, 0), row-major.
      weight: inverse variances in 1/counts²; zero for pixels that clip or lie beyond the image.
      beyond: weighted sum of squares of the counts outside the window, where no target is assumed.
      informative: number of an image's pixels that do not clip and, if the sensor rounds, do not
        read zero.
    """

    counts: Float[Array, "pixels B"]
    weight: Float[Array, "pixels B"]
    beyond: Float[Array, " B"]
    informative: Float[Array, " B"]


def weigh_pixels(images: Float[Array, "B height width"], view: View, sensor: Sensor) -> Pixels:
    """Weighs the pixels of raw images by the sensor's noise, inside their views and outside."""
    level = view.window + sensor.background
    dark = sensor.total_variance(jnp.array(sensor.background, float))
    known = images < sensor.clip_level
    if sensor.digital:
        known &= images > 0
    usable = view.real & (level < sensor.clip_level)

    def lanes_last(windows: Array) -> Array:
        return windows.reshape(len(windows), -1).T

    return Pixels(
        counts=lanes_last(view.window),
        weight=lanes_last(jnp.where(usable, 1 / sensor.total_variance(level), 0.0)),
        beyond=view.beyond / dark,
        informative=jnp.maximum(jnp.sum(known, axis=(1, 2), dtype=float), 1.0),
    )


def adjust(
    pixels: Pixels,
    position: Float[Array, "B K 2"],
    covariance: Float[Array, "B K 2 2"],
    mask: Bool[Array, "B K"],
    sensor: Sensor,
    mean: float,
    spread: float,
) -> Adjusted:
    """Finds the most probable positions and intensities given the image and the network's answer.

    A Gaussian describes the posterior only if the network knows every position well. All results
    then come from the last step. In other images only the positions change, by the first step, and
    only if that step explains the image.

    Args:
      pixels: pixels of the images.
      position, covariance, mask: the network's answer, in pixels of the window.
      sensor: the sensor.
      mean, spread: mean and standard deviation of the intensities in counts.
    """
    start = jnp.concatenate([position, jnp.full((*mask.shape, 1), mean)], axis=-1)
    start, used = jnp.moveaxis(start, 0, -1), mask.T

    def misfit(scene: Float[Array, "K 3 B"]) -> Float[Array, " B"]:
        image, _ = _predict(scene, used, len(pixels.counts), sensor)
        squares = jnp.sum(pixels.weight * (pixels.counts - image) ** 2, axis=0) + pixels.beyond
        return jnp.sqrt(squares / pixels.informative)

    full = _prior_precision(covariance, mask, spread)
    weak = _prior_precision(_WEAKER * covariance, mask, spread)
    first, _ = _step(start, start, full, pixels, used, sensor)
    final, precision = jax.lax.fori_loop(
        1,
        _STEPS,
        lambda _, now: _step(now[0], start, weak, pixels, used, sensor),
        (first, full),
    )
    blocks = _own_blocks(jnp.linalg.inv(jnp.moveaxis(precision, -1, 0)), used.shape[0])
    known = jnp.diagonal(covariance, axis1=-2, axis2=-1) < _SHARP**2
    explained = misfit(first) < _EXPLAINED
    sharp = explained & jnp.all(known | ~mask[..., None], axis=(1, 2))
    scene = jnp.moveaxis(jnp.where(sharp, final, first), -1, 0)
    of_image = sharp[:, None]
    return Adjusted(
        position=jnp.where(explained[:, None, None], scene[..., :2], position),
        intensity=jnp.where(of_image, scene[..., 2], mean),
        intensity_std=jnp.where(of_image, jnp.sqrt(blocks[..., 2, 2]), spread),
        covariance=jnp.where(of_image[..., None, None], blocks[..., :2, :2], covariance),
        sharp=sharp,
        misfit=misfit(final),
        strain=jnp.max(jnp.abs(final[:, 2] - mean) * used, axis=0) / spread,
    )


def _step(
    scene: Float[Array, "K 3 B"],
    start: Float[Array, "K 3 B"],
    prior: Float[Array, "D D B"],
    pixels: Pixels,
    used: Bool[Array, "K B"],
    sensor: Sensor,
) -> tuple[Float[Array, "K 3 B"], Float[Array, "D D B"]]:
    """Takes a Gauss–Newton step under a Gaussian prior about `start`.

    Returns:
      The next scene, and the precision of the posterior at the scene before the step.
    """
    image, jacobian = _predict(scene, used, len(pixels.counts), sensor)
    matrix, vector, _ = normal_equations(jacobian, pixels.counts - image, pixels.weight)
    away = (scene - start).reshape(vector.shape)
    precision = matrix + prior
    move = solve(cholesky(precision), vector - jnp.sum(prior * away[None], axis=1))
    limit = _LARGEST_MOVE * jnp.stack([jnp.ones(start.shape[::2])] * 2 + [start[:, 2]], axis=1)
    return scene + jnp.clip(move.reshape(scene.shape), -limit, limit), precision


def _prior_precision(
    covariance: Float[Array, "B K 2 2"], mask: Bool[Array, "B K"], spread: float
) -> Float[Array, "D D B"]:
    """Returns the precision of positions and intensities before the image is seen."""
    batch, slots = mask.shape
    inverse = jnp.linalg.inv(jnp.where(mask[..., None, None], covariance, jnp.eye(2)))
    blocks = jnp.zeros((batch, slots, 3, 3)).at[..., :2, :2].set(inverse)
    blocks = blocks.at[..., 2, 2].set(1 / spread**2)
    matrix = jnp.einsum("kl,bkij->kiljb", jnp.eye(slots), blocks, precision="highest")
    return matrix.reshape(3 * slots, 3 * slots, batch)


def _own_blocks(matrix: Float[Array, "B D D"], slots: int) -> Float[Array, "B K 3 3"]:
    """Returns the 3×3 blocks of each target on a matrix's diagonal."""
    return jnp.einsum("bkikj->bkij", matrix.reshape(-1, slots, 3, slots, 3))


def _predict(
    scene: Float[Array, "K 3 B"], used: Bool[Array, "K B"], pixels: int, sensor: Sensor
) -> tuple[Float[Array, "pixels B"], Float[Array, "D pixels B"]]:
    """Computes the image of the used targets of each scene, and its derivatives."""
    side = round(pixels**0.5)
    seen = scene.at[:, 2].multiply(used)
    image, jacobian = image_and_jacobian(seen, image_axes((side, side)), sensor.psf)
    by_target = jacobian.reshape(len(used), 3, *image.shape)
    return image, by_target.at[:, 2].multiply(used[:, None]).reshape(jacobian.shape)
