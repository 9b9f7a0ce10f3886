"""A window around each image's blob, cut out before a network and put back after it."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from distax.windows import blob_pixel, window


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
