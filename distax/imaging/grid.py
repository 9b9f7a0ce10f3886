"""Sub-pixel grid: writes targets onto its nodes, and reads targets off them."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from distax.imaging.checks import as_counts
from distax.imaging.psf import pixel_response
from distax.imaging.sensor import Sensor, node_coordinates
from distax.imaging.targets import Targets, make_targets
from distax.runtime.errors import DistaxError, check_not_negative, check_positive

THRESHOLD = 50.0
"""Counts that a node needs to be reported, by default and in the published protocol."""


def rasterize(
    targets: Targets, sensor: Sensor, factor: int, blur: float = 0.0
) -> Float[Array, "*batch fine_height fine_width"]:
    """Writes each target's intensity onto the node nearest to it, and adds targets at one node.

    For factor c a target at (r, q) goes to node (round(c·r + (c−1)/2), round(c·q + (c−1)/2)).
    Targets outside the grid are dropped.

    Args:
      targets: the targets.
      sensor: the sensor whose pixels the grid refines.
      factor: nodes per pixel along each axis, odd.
      blur: standard deviation in pixels of a Gaussian that spreads each target over the nodes'
        cells. Nodes nearer to the target then hold more of its flux, so that detections rank by
        their distance from the truth. Default: no spread.

    Returns:
      Intensity in counts at each node.

    Raises:
      DistaxError: `factor` is even or not positive, or `blur` is negative.
    """
    check_not_negative(blur=blur)
    shares = []
    for axis, size in enumerate(sensor.shape):
        node = factor * (targets.place[..., axis] - node_coordinates(size, factor)[0])
        if blur:
            shares.append(pixel_response(node, factor * size, factor * blur))
        else:
            nearest = jnp.round(node).astype(jnp.int32)
            shares.append(jax.nn.one_hot(nearest, factor * size, dtype=targets.intensity.dtype))
    return jnp.einsum("...k,...ki,...kj->...ij", targets.flux, *shares, precision="highest")


def decode(
    grid: Float[Array, "*batch fine_height fine_width"],
    threshold: float | Float[Array, ""] = THRESHOLD,
    sensor: Sensor | None = None,
    max_targets: int = 16,
) -> Targets:
    """Reads targets off a grid: one at every node whose intensity reaches the threshold.

    Args:
      grid: intensity in counts on the sub-pixel grid. Nodes that are NaN or infinite are not
        reported.
      threshold: counts a node needs to be reported.
      sensor: the sensor whose pixels the grid refines. The factor follows from the two sizes.
        Default: CSIST-100K's.
      max_targets: slots in the result, filled from the brightest node down. Nodes beyond this
        number are left out. A trained model reports a handful.

    Returns:
      Targets `[..., max_targets]`, brightest first, ranked by intensity.

    Raises:
      DistaxError: the grid is no array of numbers; its size is not an odd multiple of the sensor's;
        the threshold is not a finite number greater than 0.
    """
    if not isinstance(threshold, jax.core.Tracer):
        check_positive(threshold=threshold)
    sensor = sensor or Sensor()
    if not isinstance(grid, jax.Array | np.ndarray):
        grid = jnp.asarray(as_counts(grid, "grid"))
    if grid.ndim < 2:
        raise DistaxError(f"an array of shape {grid.shape} is no grid, which has height and width")
    factor = grid.shape[-1] // sensor.width
    if grid.shape[-2:] != (factor * sensor.height, factor * sensor.width):
        raise DistaxError(
            f"a grid of {grid.shape[-2]}×{grid.shape[-1]} nodes does not refine an image of "
            f"{sensor.height}×{sensor.width} pixels; pass the sensor the grid was made for"
        )
    flat = jnp.where(jnp.isfinite(grid), grid, 0.0).reshape(*grid.shape[:-2], -1)
    intensity, node = jax.lax.top_k(flat, min(max_targets, flat.shape[-1]))
    row, column = jnp.divmod(node, grid.shape[-1])
    position = jnp.stack(
        [
            node_coordinates(sensor.height, factor)[row],
            node_coordinates(sensor.width, factor)[column],
        ],
        axis=-1,
    )
    return make_targets(position, intensity, mask=intensity >= threshold)
