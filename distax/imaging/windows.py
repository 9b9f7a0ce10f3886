"""Location of an image's brightest blob, and windows around it."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped


def blob_pixel(counts: Float[Array, "height width"], reach: int = 2) -> Int[Array, "2"]:
    """Returns the pixel (row, column) nearest to the flux centroid of the brightest blob.

    The centroid is taken twice: around the brightest 3×3 box, then around the first centroid. The
    sum of a box varies less with noise than a single pixel. In a wide blob the brightest box may
    lie far from the middle.

    Args:
      counts: the image above its background.
      reach: distance in pixels along each axis up to which pixels enter a centroid. The noise of
        pixels farther away would shift it.
    """
    padded = jnp.pad(counts, reach)
    offset = jnp.arange(-reach, reach + 1.0)
    limit = jnp.array(counts.shape) - 1

    def centre(pixel: Int[Array, "2"]) -> Int[Array, "2"]:
        blob = jax.lax.dynamic_slice(padded, pixel, (len(offset), len(offset)))
        blob = jnp.maximum(blob, 0.0)
        flux = jnp.maximum(jnp.sum(blob), 1e-6)
        centroid = jnp.stack([jnp.sum(blob.sum(1) * offset), jnp.sum(blob.sum(0) * offset)]) / flux
        return jnp.clip(pixel + jnp.round(centroid).astype(pixel.dtype), 0, limit)

    box = jax.lax.reduce_window(counts, 0.0, jax.lax.add, (3, 3), (1, 1), "SAME")
    return centre(centre(jnp.stack(jnp.unravel_index(jnp.argmax(box), counts.shape))))


def window(
    pixels: Shaped[Array, "height width"],
    corner: Int[Array, "2"],
    side: int,
    outside: float = 0.0,
) -> Shaped[Array, "{side} {side}"]:
    """Cuts out the `side` by `side` pixels that start at a corner.

    Args:
      pixels: the image.
      corner: row and column of the window's first pixel. It may lie beyond the image by up to
        `side`.
      side: height and width of the window in pixels.
      outside: value of the window's pixels beyond the image.
    """
    # `dynamic_slice` would shift a window that leaves the image; padding keeps it in place.
    padded = jnp.pad(pixels, side, constant_values=outside)
    return jax.lax.dynamic_slice(padded, corner + side, (side, side))
