"""Forward model: the ideal image of targets, and its derivatives.

The same sum is computed in two memory layouts. `render` has the batch on the first axis and sums
over targets by matrix products, which suits images of any size. `image_of` and
`image_and_jacobian` have the scenes on the last axis (the lanes) and the pixels before them. All
arithmetic then runs along lanes, which is several times faster on a CPU for windows of a few
pixels. In this layout a scene is an array `[K, 3]`: row, column and intensity of each target.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from distax.imaging.checks import check_single
from distax.imaging.psf import Psf, profiles, responses
from distax.imaging.sensor import Sensor
from distax.imaging.targets import Targets

Axes = tuple[np.ndarray, np.ndarray]
"""Row coordinates and column coordinates of the pixels' centres."""


def image_axes(shape: tuple[int, int]) -> Axes:
    """Returns the coordinates of an image's pixels; (0, 0) is the centre of the first pixel."""
    height, width = shape
    return np.arange(height), np.arange(width)


def window_axes(width: int) -> Axes:
    """Returns the coordinates of a square window's pixels, in pixels from its centre."""
    axis = np.arange(width) - (width - 1) / 2
    return axis, axis


def render(targets: Targets, sensor: Sensor) -> Float[Array, "*batch height width"]:
    """Renders the ideal image of the targets: unclipped, unrounded, without noise.

    A target of intensity g at (r, q) adds g·P(i; r)·P(j; q) to pixel (i, j) for each term of the
    PSF; see `psf.responses`. Differentiable in positions and intensities; padding adds nothing.
    """
    check_single(sensor)
    rows, columns = responses(targets.place, sensor.shape, sensor.psf)
    return jnp.einsum("...k,t...ki,t...kj->...ij", targets.flux, rows, columns, precision="highest")


def image_of(
    scene: Float[Array, "K 3 lanes"], axes: Axes, psf: Psf
) -> Float[Array, "pixels lanes"]:
    """Computes the ideal image of each lane's scene, pixels row-major.

    Args:
      scene: row, column (in the coordinates of `axes`) and intensity of each target.
      axes: coordinates of the image's pixels.
      psf: the sensor's PSF.
    """
    down, across = profiles(psf)
    rows = down.response(scene[:, 0], axes[0], axis=1)
    columns = across.response(scene[:, 1], axes[1], axis=1)
    images = (scene[:, 2, None] * rows)[:, :, :, None] * columns[:, :, None]
    return jnp.sum(images, axis=(0, 1)).reshape(-1, scene.shape[-1])


def image_and_jacobian(
    scene: Float[Array, "K 3 lanes"], axes: Axes, psf: Psf
) -> tuple[Float[Array, "pixels lanes"], Float[Array, "parameters pixels lanes"]]:
    """Computes `image_of` and its derivatives with respect to the scene's 3K parameters.

    The derivatives are closed forms: see `GaussianProfile.slope` and `MeasuredProfile.slope`.
    """
    intensity = scene[:, 2, None]
    down, across = profiles(psf)
    # Without the barrier XLA would compute the profiles anew for every pixel.
    rows, row_slopes, columns, column_slopes = jax.lax.optimization_barrier(
        (
            down.response(scene[:, 0], axes[0], axis=1),
            down.slope(scene[:, 0], axes[0], axis=1),
            across.response(scene[:, 1], axes[1], axis=1),
            across.slope(scene[:, 1], axes[1], axis=1),
        )
    )

    def outer(rows: Array, columns: Array) -> Float[Array, "K height width lanes"]:
        return jnp.sum(rows[:, :, :, None] * columns[:, :, None], axis=0)

    by_row = outer(intensity * row_slopes, columns)
    by_column = outer(intensity * rows, column_slopes)
    by_intensity = outer(rows, columns)
    image = jnp.sum(intensity[:, None] * by_intensity, axis=0)
    jacobian = jnp.stack([by_row, by_column, by_intensity], axis=1)
    lanes = scene.shape[-1]
    # Without the barrier XLA would compute both anew wherever they are used.
    return jax.lax.optimization_barrier(
        (image.reshape(-1, lanes), jacobian.reshape(-1, image.shape[0] * image.shape[1], lanes))
    )
