"""Windows around blobs as intervals: each reading bounds the ideal image plus noise."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from distax.imaging.forward import Axes, window_axes
from distax.imaging.sensor import Sensor
from distax.imaging.windows import blob_pixel, window
from distax.runtime.errors import finite
from distax.runtime.pytree import pytree

REACH = 3.6
"""Standard deviations of the PSF that a window holds around the farthest target: all but 3e-4 of
its flux. A wider window costs time in every fit. A narrower one loses pixels that constrain the
target."""
_DIMMEST = 1.0
"""Lower limit in counts of the level that sets a pixel's shot noise. Pixels that read zero would
otherwise have no shot noise, and too large a weight. A larger value gives dim pixels too small a
weight."""


@pytree
class Patch:
    """Windows cut from images around their blobs, pixels row-major, images on the last axis.

    A reading means that the ideal image plus noise lies between two edges. Rounding puts them half
    a count below and above it. A clipped pixel has no upper edge. A pixel that reads zero has no
    lower edge if the sensor rounds. A pixel that is NaN or beyond the image has no edges.

    Attributes:
      counts: readings in counts above the background; 0 for unknown pixels.
      lower, upper: edges in counts above the background; infinite if there is none.
      variance: variance of the noise in counts², without the rounding error.
      rounding: variance in counts² of the rounding error.
      origin: row and column of the window's central pixel in the image.
      size: height and width of the image in pixels.
    """

    counts: Float[Array, "pixels lanes"]
    lower: Float[Array, "pixels lanes"]
    upper: Float[Array, "pixels lanes"]
    variance: Float[Array, "pixels lanes"]
    rounding: Float[Array, " lanes"]
    origin: Int[Array, "2 lanes"]
    size: Int[Array, "2 lanes"]

    @property
    def known(self) -> Bool[Array, "pixels lanes"]:
        """True for pixels with an edge, which constrain a scene."""
        return jnp.isfinite(self.lower) | jnp.isfinite(self.upper)

    @property
    def clipped(self) -> Bool[Array, "pixels lanes"]:
        """True for pixels that read the clip level, which have a lower edge only."""
        return jnp.isfinite(self.lower) & jnp.isinf(self.upper)

    @property
    def axes(self) -> Axes:
        """Coordinates of the window's pixels, in pixels from its centre."""
        return window_axes(math.isqrt(self.counts.shape[0]))


def rows_first(patch: Patch) -> Patch:
    """Moves the lanes to the first axis, along which data is split into batches."""
    return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, -1, 0), patch)


def lanes_last(rows: Patch) -> Patch:
    """Reverses `rows_first`."""
    return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, -1), rows)


def repeat_lanes(patch: Patch, times: int) -> Patch:
    """Repeats each lane; the repetitions of a lane are consecutive."""
    return jax.tree.map(lambda leaf: jnp.repeat(leaf, times, axis=-1), patch)


def window_width(sensor: Sensor, cluster: float, reach: float = REACH) -> int:
    """Returns the odd width in pixels of a window around the host pixel.

    Under the sensor's Gaussian the window holds nearly all flux of targets in the cluster's square.
    A measured PSF may have wings beyond it. The width sets shapes of arrays, so `sigma` and
    `cluster` must be known and not traced.

    Args:
      sensor: the sensor.
      cluster: side in pixels of the square that holds the targets.
      reach: standard deviations of the PSF that the window holds around the farthest target.
    """
    half = finite("cluster", cluster) / 2 + reach * sensor.widest_sigma
    return 2 * math.ceil(half - 0.5) + 1


def blob_reach(width: int) -> int:
    """Returns how far in pixels the light reaches that locates a blob in a window of a width.

    The outermost two pixels of the window hold more noise than light.
    """
    return max(width // 2 - 2, 2)


@partial(jax.jit, static_argnames=("width", "reach"))
def cut_rows(
    images: Float[Array | np.ndarray, "N height width"], sensor: Sensor, width: int, reach: int = 2
) -> Patch:
    """Cuts patches as `cut_patches` does, with the images along the first axis."""
    return rows_first(cut_patches(images, sensor, width, reach))


def cut_patches(
    images: Float[Array | np.ndarray, "N height width"],
    sensor: Sensor,
    width: int,
    reach: int = 2,
) -> Patch:
    """Cuts the windows around the blobs of raw images, and computes each pixel's edges and noise.

    The variance of shot noise is computed from each reading. So pixels that read too low weigh more
    than pixels that read too high, and with few electrons intensities are biased low. The bias is 6
    of 235 counts at one electron per count without background, and half as much with a background
    of 20 counts.

    Args:
      images: raw images in counts; NaN marks pixels to leave out.
      sensor: the sensor.
      width: width of the windows in pixels, odd.
      reach: how far in pixels the light reaches that locates the blob; see `blob_reach`.
    """
    known = jnp.isfinite(images)
    counts = jnp.where(known, images - sensor.background, 0.0)
    origin = jax.vmap(partial(blob_pixel, reach=reach))(counts)
    half_step = sensor.half_step
    lower = jnp.where(known, counts - half_step, -jnp.inf)
    upper = jnp.where(known & (images < sensor.clip_level), counts + half_step, jnp.inf)
    if sensor.digital:
        # The digitiser delivers zero for any negative value as well.
        lower = jnp.where(images <= 0.0, -jnp.inf, lower)
    variance = sensor.noise_variance(jnp.maximum(counts + sensor.background, _DIMMEST))

    def around(pixels: Float[Array, "N height width"], outside: float) -> Float[Array, "pixels N"]:
        windows = jax.vmap(lambda image, corner: window(image, corner, width, outside))
        return windows(pixels, origin - width // 2).reshape(len(pixels), -1).T

    lanes = len(images)
    return Patch(
        counts=around(counts, 0.0),
        lower=around(lower, -math.inf),
        upper=around(upper, math.inf),
        variance=around(variance, 0.0),
        rounding=jnp.full(lanes, sensor.rounding_variance),
        origin=origin.T,
        size=jnp.tile(jnp.array(images.shape[1:])[:, None], lanes),
    )
