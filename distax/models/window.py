"""A window around each image's blob, cut out before a network and put back after it."""

from dataclasses import replace

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from distax.imaging.sensor import Sensor
from distax.imaging.windows import blob_pixel, window
from distax.models.base import GridModel
from distax.runtime.errors import DistaxError


class Windowed(GridModel):
    """A grid model that sees a window around the blob, and answers zero elsewhere.

    7 pixels hold all but 1e-7 of a target's flux at CSIST-100K's σ, and take 2.5 times less work
    than the whole image.

    Args:
      inner: a model of images as large as the window.
      sensor: whose images it takes.

    Raises:
      DistaxError: the inner model's images are not square, or of an even size.
    """

    def __init__(self, inner: GridModel, sensor: Sensor):
        super().__init__(inner.factor, sensor)
        self.inner, self.side = inner, inner.sensor.height
        if inner.sensor != seen_through(sensor, self.side):
            raise DistaxError(f"the inner model is for {inner.sensor}, not for a window's images")

    def __call__(
        self, images: Float[Array, "B height width"]
    ) -> Float[Array, "B fine_height fine_width"]:
        corner = corners(images, self.side)
        windows = self.inner(crop(images, corner, self.side))
        height, width = self.sensor.shape
        return paste(windows, self.factor * corner, (self.factor * height, self.factor * width))

    def objective(
        self,
        images: Float[Array, "B height width"],
        grids: Float[Array, "B fine_height fine_width"],
    ) -> Float[Array, ""]:
        """The inner model's objective within the window."""
        corner = corners(images, self.side)
        windows = crop(grids, self.factor * corner, self.factor * self.side)
        return self.inner.objective(crop(images, corner, self.side), windows)


def seen_through(sensor: Sensor, side: int) -> Sensor:
    """The sensor of the images that a window shows.

    Raises:
      DistaxError: a window without a middle pixel.
    """
    if side < 1 or side % 2 == 0:
        raise DistaxError(f"window must be an odd number of pixels, got {side}")
    return replace(sensor, height=side, width=side)


def margin(side: int) -> int:
    """How far from a window's edges a host pixel is at least: in the middle, give or take one."""
    return max(side // 2 - 1, 0)


def corners(images: Float[Array, "B height width"], side: int) -> Int[Array, "B 2"]:
    """The first pixel of the window of `side` pixels around each blob; may lie beyond the image."""
    return jax.vmap(blob_pixel)(images) - side // 2


def crop(
    maps: Float[Array, "B height width"], corners: Int[Array, "B 2"], side: int
) -> Float[Array, "B {side} {side}"]:
    """The windows that begin at the corners; zero where they reach beyond the maps."""
    return jax.vmap(lambda image, corner: window(image, corner, side))(maps, corners)


def paste(
    windows: Float[Array, "B side side"], corners: Int[Array, "B 2"], shape: tuple[int, int]
) -> Float[Array, "B {shape[0]} {shape[1]}"]:
    """Maps of a shape that are zero outside their windows: the transpose of `crop`."""
    side = windows.shape[-1]
    canvas = jnp.zeros([size + 2 * side for size in shape], windows.dtype)

    def one(window: Array, corner: Array) -> Array:
        return jax.lax.dynamic_update_slice(canvas, window, corner + side)[side:-side, side:-side]

    return jax.vmap(one)(windows, corners)
