"""Maps on coarser grids, and back by the nearest sample."""

from functools import reduce

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from distax.models.layers.basic import Maps


def max_pool(maps: Maps, size: int, stride: int) -> Float[Array, "B out_height out_width channels"]:
    """The largest of every `size`×`size` window, `stride` apart; what does not fill one is lost."""
    rows, columns = ((side - size) // stride * stride + 1 for side in maps.shape[1:3])
    return reduce(
        jnp.maximum,
        [
            maps[:, i : i + rows : stride, j : j + columns : stride]
            for i in range(size)
            for j in range(size)
        ],
    )


def average_pool(maps: Maps, size: int) -> Float[Array, "B out_height out_width channels"]:
    """The mean of every `size`×`size` cell; what does not fill one is lost."""
    height, width = (side // size for side in maps.shape[1:3])
    cells = maps[:, : height * size, : width * size]
    return cells.reshape(len(maps), height, size, width, size, -1).mean(axis=(2, 4))


def spread(maps: Maps, height: int, width: int) -> Float[Array, "B {height} {width} channels"]:
    """Maps on a finer grid, whose row i of n is the coarse row ⌊i·N/n⌋ of N, columns alike."""
    for axis, size in ((1, height), (2, width)):
        maps = jnp.take(maps, np.arange(size) * maps.shape[axis] // size, axis=axis)
    return maps
