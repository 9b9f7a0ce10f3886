"""PSNR and SSIM between sub-pixel grids, under the protocol of CSIST-100K.

Both grids are first clipped to 0..255 and truncated to 8 bits. Sums over windows are computed in
32-bit integers, where they are exact. Variances are differences of large sums, and would lose their
digits in floating point.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from distax.runtime.errors import DistaxError

_RANGE = 255
"""Largest value of a grid after conversion to 8 bits, by the protocol."""
_WINDOW = 7
"""Side in nodes of SSIM's window, by the protocol."""


def _to_8bit(grid: Float[Array, "*batch n m"]) -> Int[Array, "*batch n m"]:
    return jnp.clip(grid, 0, _RANGE).astype(jnp.int32)


def _pair(grid: Any, truth: Any, least: int) -> tuple[Array, Array]:
    """Returns two arrays of grids of one size, with at least some nodes along each edge."""
    first, second = jnp.asarray(grid), jnp.asarray(truth)
    if first.shape[-2:] != second.shape[-2:] or min(first.ndim, second.ndim) < 2:
        raise DistaxError(
            f"a grid of shape {first.shape} cannot be compared with one of {second.shape}; give "
            "grids of one height and width"
        )
    if min(first.shape[-2:]) < least:
        height, width = first.shape[-2:]
        raise DistaxError(
            f"grids of {height}×{width} nodes are too small for the window of {least}×{least}"
        )
    return first, second


def psnr(
    grid: Float[Array, "*batch n m"], truth: Float[Array, "*batch n m"]
) -> Float[Array, "*batch"]:
    """Computes the peak signal-to-noise ratio of each grid in dB; 100 for identical grids.

    Raises:
      DistaxError: the grids differ in size.
    """
    grid, truth = _pair(grid, truth, 1)
    error = _to_8bit(grid) - _to_8bit(truth)
    mean_square = jnp.mean(error.astype(jnp.float32) ** 2, axis=(-2, -1))
    ratio = 10 * jnp.log10(_RANGE**2 / jnp.where(mean_square > 0, mean_square, 1.0))
    return jnp.where(mean_square > 0, ratio, 100.0)


def ssim(
    grid: Float[Array, "*batch n m"], truth: Float[Array, "*batch n m"]
) -> Float[Array, "*batch"]:
    """Computes the mean structural similarity of each grid (Wang et al. 2004).

    The window is uniform, 7×7 nodes, and lies inside the grid. Variances are unbiased. The
    constants are (0.01·255)² and (0.03·255)².

    Raises:
      DistaxError: the grids differ in size, or are smaller than the window.
    """
    grid, truth = _pair(grid, truth, _WINDOW)
    x, y = _to_8bit(grid), _to_8bit(truth)
    n = _WINDOW**2
    sum_x, sum_y = _window_sum(x), _window_sum(y)

    def covariance(product: Array, sum_a: Array, sum_b: Array) -> Array:
        return (n * _window_sum(product) - sum_a * sum_b) / (n * (n - 1))

    var_x, var_y = covariance(x * x, sum_x, sum_x), covariance(y * y, sum_y, sum_y)
    cov = covariance(x * y, sum_x, sum_y)
    mean_x, mean_y = sum_x / n, sum_y / n
    c1, c2 = (0.01 * _RANGE) ** 2, (0.03 * _RANGE) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * cov + c2) / (var_x + var_y + c2)
    return jnp.mean(luminance * structure, axis=(-2, -1))


def _window_sum(image: Int[Array, "*batch n m"]) -> Int[Array, "*batch a b"]:
    """Sums over each 7×7 window that lies inside the image."""
    for axis in (-2, -1):
        inside = image.shape[axis] - _WINDOW + 1
        shifted = [
            jax.lax.slice_in_dim(image, start, start + inside, axis=axis)
            for start in range(_WINDOW)
        ]
        image = sum(shifted[1:], start=shifted[0])
    return image
