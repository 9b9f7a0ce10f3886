"""Window around the blob of an image, mirrored and transposed into a canonical pose.

All targets of a scene lie in a small square around one pixel. If the scene is mirrored or
transposed, so is its image, which gives eight equivalent poses. The canonical pose is the one with
the blob's centroid below and right of the window's middle, and no farther down than right. A
network that sees all windows in this pose has an eighth as much to learn. If the PSF is elongated,
rows and columns differ and only four poses are equivalent. A measured PSF may have no symmetry;
then no two poses are equivalent.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from distax.imaging.sensor import Sensor
from distax.imaging.windows import blob_pixel, window
from distax.runtime.numerics import exact_products
from distax.runtime.pytree import pytree


@pytree
class View:
    """Windows in the canonical pose, with the transform back to the image.

    Attributes:
      window: `[B, side, side]`, counts above the background, which noise can make negative; zero
        outside the image.
      real: `[B, side, side]`, True inside the image.
      beyond: `[B]`, sum of squares in counts² of the pixels outside the window.
      centre: `[B, 2]`, the image pixel (row, column) in the middle of the window.
      mirrored: `[B, 2]`, True if the rows, or the columns, were reversed.
      transposed: `[B]`, True if rows and columns were then exchanged.
    """

    window: Float[Array, "*batch side side"]
    real: Bool[Array, "*batch side side"]
    beyond: Float[Array, "*batch"]
    centre: Float[Array, "*batch 2"]
    mirrored: Bool[Array, "*batch 2"]
    transposed: Bool[Array, "*batch"]

    def inward(self, position: Float[Array | np.ndarray, "B K 2"]) -> Float[Array, "B K 2"]:
        """Converts image positions to offsets in pixels from the window's middle.

        The offsets are mirrored and transposed as the window is.
        """
        offset = (position - self.centre[:, None]) * self._signs
        return jnp.where(self.transposed[:, None, None], offset[..., ::-1], offset)

    def outward(self, offset: Float[Array | np.ndarray, "B K 2"]) -> Float[Array, "B K 2"]:
        """Converts offsets from the window's middle to image positions: the inverse of `inward`."""
        turned = jnp.where(self.transposed[:, None, None], offset[..., ::-1], offset)
        return turned * self._signs + self.centre[:, None]

    def outward_covariance(
        self, covariance: Float[Array | np.ndarray, "B K 2 2"]
    ) -> Float[Array, "B K 2 2"]:
        """Converts covariances of offsets in the window's pose to those of image positions."""
        swapped = covariance[..., ::-1, ::-1]
        turned = jnp.where(self.transposed[:, None, None, None], swapped, covariance)
        return turned * self._signs[..., :, None] * self._signs[..., None, :]

    def turn_grids(
        self, grids: Float[Array, "B fine_height fine_width"], factor: int
    ) -> Float[Array, "B fine_side fine_side"]:
        """Cuts the windows out of maps on the sub-pixel grid, and turns them as the pixels.

        Args:
          grids: maps of the images that were looked at.
          factor: grid nodes per pixel along each axis.
        """
        side = self.window.shape[-1]
        corner = self.centre.astype(jnp.int32) - side // 2

        def turn(grid: Array, corner: Array, mirrored: Array, transposed: Array) -> Array:
            seen = _mirror(window(grid, factor * corner, factor * side), mirrored)
            return jnp.where(transposed, seen.T, seen)

        return jax.vmap(turn)(grids, corner, self.mirrored, self.transposed)

    @property
    def _signs(self) -> Float[Array, "B 1 2"]:
        return jnp.where(self.mirrored, -1.0, 1.0)[:, None]


def look(
    images: Float[Array, "B height width"],
    side: int,
    mirror: bool = True,
    transpose: bool = True,
) -> View:
    """Cuts out the window around each blob and brings it into the canonical pose.

    The middle of the window is the pixel that holds the blob's centroid. Only pixels near the
    blob's brightest region enter the centroid, since noise elsewhere would shift it.

    Args:
      images: counts above the background.
      side: side of the windows in pixels, odd.
      mirror: True to allow reversed rows and columns.
      transpose: True to allow exchanged rows and columns.
    """
    return jax.vmap(lambda image: _look(image, side, mirror, transpose))(images)


@exact_products
def look_through(images: Float[Array, "B height width"], sensor: Sensor, side: int) -> View:
    """Looks at raw images, in the poses that the sensor's PSF makes equivalent; see `look`."""
    row_sigma, column_sigma = sensor.sigmas
    gaussian = sensor.measured_psf is None
    return look(
        images - sensor.background,
        side,
        mirror=gaussian,
        transpose=gaussian and bool(row_sigma == column_sigma),
    )


def pixel_features(
    windows: Float[Array, "B side side"], clipped: float | Float[Array, ""]
) -> Float[Array, "B features"]:
    """Computes a network's inputs from windows: counts on three scales, and which pixels clip.

    Single counts matter in dim pixels as well. A linear scale alone would hide them there.
    """
    # The divisors map 0..255 counts to about −0.5..1.5 on each scale.
    counts = jnp.maximum(windows.reshape(len(windows), -1), 0.0)
    scales = [counts / 128 - 0.5, jnp.sqrt(counts) / 8 - 0.5, jnp.log1p(counts) / 3 - 0.5]
    return jnp.concatenate([*scales, (counts >= clipped).astype(float)], axis=-1)


def _look(image: Float[Array, "height width"], side: int, mirror: bool, transpose: bool) -> View:
    rows, columns = map(jnp.arange, image.shape)

    def around(centre: Array) -> Bool[Array, "height width"]:
        down, across = jnp.abs(rows - centre[0]), jnp.abs(columns - centre[1])
        return jnp.maximum(down[:, None], across) <= side // 2

    blob = jnp.where(around(blob_pixel(image)), image, 0.0)
    centre = jnp.round(_centroid(blob, rows, columns))
    corner = centre.astype(jnp.int32) - side // 2

    seen, real = window(image, corner, side), window(jnp.ones_like(image, bool), corner, side)
    axis = jnp.arange(side) - side // 2
    mirrored = (_centroid(seen, axis, axis) < 0) & mirror
    seen, real = _mirror(seen, mirrored), _mirror(real, mirrored)
    row, column = _centroid(seen, axis, axis)
    transposed = (row > column) & transpose
    return View(
        window=jnp.where(transposed, seen.T, seen),
        real=jnp.where(transposed, real.T, real),
        beyond=jnp.sum(jnp.where(around(centre), 0.0, image**2)),
        centre=centre,
        mirrored=mirrored,
        transposed=transposed,
    )


def _mirror(pixels: Array, mirrored: Bool[Array, "2"]) -> Array:
    pixels = jnp.where(mirrored[0], pixels[::-1], pixels)
    return jnp.where(mirrored[1], pixels[:, ::-1], pixels)


def _centroid(
    image: Float[Array, "height width"], rows: Array, columns: Array
) -> Float[Array, "2"]:
    light = jnp.maximum(image, 0.0)
    flux = jnp.maximum(jnp.sum(light), 1e-6)
    return jnp.stack([jnp.sum(light, 1) @ rows, jnp.sum(light, 0) @ columns]) / flux
