"""Location of an image's brightest blob, and windows around it."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped


def blob_pixel(counts: Float[Array, "height width"]) -> Int[Array, "2"]:
    """Returns the pixel (row, column) nearest to the flux centroid of the brightest blob.

    The centroid is taken over the 5×5 pixels around the brightest 3×3 box. The sum of a box varies
    less with noise than a single pixel. Pixels farther away are left out, because their noise would
    shift the centroid.
    """
    padded = jnp.pad(counts, 2)
    box = jax.lax.reduce_window(counts, 0.0, jax.lax.add, (3, 3), (1, 1), "SAME")
    peak = jnp.stack(jnp.unravel_index(jnp.argmax(box), counts.shape))
    blob = jnp.maximum(jax.lax.dynamic_slice(padded, peak, (5, 5)), 0.0)
    offset = jnp.arange(-2.0, 3.0)
    flux = jnp.maximum(jnp.sum(blob), 1e-6)
    centroid = jnp.stack([jnp.sum(blob.sum(1) * offset), jnp.sum(blob.sum(0) * offset)]) / flux
    limit = jnp.array(counts.shape) - 1
    return jnp.clip(peak + jnp.round(centroid).astype(peak.dtype), 0, limit)


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
