"""Where in an image its blob is, and what is around it."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped


def blob_pixel(counts: Float[Array, "height width"]) -> Int[Array, "2"]:
    """The pixel nearest to the flux centroid of the brightest blob."""
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
    """The `side` by `side` pixels from a corner on; `outside` where they reach beyond the image.

    The corner may lie beyond the image, by up to `side`.
    """
    padded = jnp.pad(pixels, side, constant_values=outside)
    return jax.lax.dynamic_slice(padded, corner + side, (side, side))
