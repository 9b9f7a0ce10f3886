"""What the pixels around one blob say about the ideal image there."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from distax.imaging.scenes import ScenePrior
from distax.imaging.sensor import HALF_STEP, Sensor
from distax.imaging.windows import blob_pixel, window
from distax.runtime.pytree import pytree

ROUNDING_VARIANCE = (2 * HALF_STEP) ** 2 / 12
"""Variance in counts² of a digitiser's rounding error."""


@pytree
class Patch:
    """Windows cut from images around their blobs, pixels row-major, images on the last axis.

    A pixel says that the ideal image plus noise lies between two edges: rounding makes them half
    a count below and above; a clipped pixel has no upper edge, a pixel that reads zero no lower
    one, and a pixel that is masked, NaN or beyond the image neither.

    Attributes:
      counts: what the pixel reads above the background; 0 where it says nothing.
      lower, upper: edges in counts above the background, infinite where there is none.
      variance: of its noise in counts², without the rounding error's.
      rounding: variance in counts² of the rounding error.
      origin: the window's central pixel in the image.
    """

    counts: Float[Array, "pixels lanes"]
    lower: Float[Array, "pixels lanes"]
    upper: Float[Array, "pixels lanes"]
    variance: Float[Array, "pixels lanes"]
    rounding: Float[Array, " lanes"]
    origin: Int[Array, "2 lanes"]


def rows_first(patch: Patch) -> Patch:
    """The same with the lanes on the first axis, as batches are made along it."""
    return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, -1, 0), patch)


def lanes_last(rows: Patch) -> Patch:
    """The inverse of `rows_first`."""
    return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, -1), rows)


def window_width(sensor: Sensor, prior: ScenePrior) -> int:
    """Odd width in pixels of a window around the host, for the width of the sensor's Gaussian.

    Along each axis all but 3e-5 of any target's flux lies in it under that Gaussian; a measured PSF
    may have wings beyond.
    """
    return 2 * math.ceil(prior.cluster / 2 + 4 * max(sensor.sigmas) - 0.5) + 1


def cut(
    images: Float[Array | np.ndarray, "N height width"], sensor: Sensor, prior: ScenePrior
) -> Patch:
    """The windows around the blobs of raw images; NaN marks pixels to leave out.

    The variance of shot noise is taken from what each pixel reads, so that pixels which read too
    little weigh more than those which read too much: with few electrons intensities come out low,
    by 6 of 235 counts at one electron per count without background, half as much with 20 counts
    of it.
    """
    known = jnp.isfinite(images)
    counts = jnp.where(known, images - sensor.background, 0.0)
    origin = jax.vmap(blob_pixel)(counts)
    lower = jnp.where(known, counts - sensor.half_step, -jnp.inf)
    upper = jnp.where(known & (images < sensor.white), counts + sensor.half_step, jnp.inf)
    if sensor.bit_depth is not None:
        lower = jnp.where(images <= 0.0, -jnp.inf, lower)
    variance = sensor.noise_variance(jnp.maximum(counts + sensor.background, 1.0))
    width = window_width(sensor, prior)

    def around(pixels: Float[Array, "N height width"], outside: float) -> Float[Array, "pixels N"]:
        windows = jax.vmap(lambda image, corner: window(image, corner, width, outside))
        return windows(pixels, origin - width // 2).reshape(len(pixels), -1).T

    return Patch(
        counts=around(counts, 0.0),
        lower=around(lower, -math.inf),
        upper=around(upper, math.inf),
        variance=around(variance, 0.0),
        rounding=jnp.full(len(images), sensor.rounding_variance),
        origin=origin.T,
    )
