"""Windows of maps: square parts whose positions are tokens, row by row."""

import numpy as np
from jaxtyping import Array, Float

from distax.models.layers.basic import Maps


def split_windows(maps: Maps, side: int) -> Float[Array, "windows positions channels"]:
    """Splits maps into windows, with the positions of each window as rows."""
    batch, height, width, channels = maps.shape
    parts = maps.reshape(batch, height // side, side, width // side, side, channels)
    return parts.swapaxes(2, 3).reshape(-1, side**2, channels)


def join_windows(
    windows: Float[Array, "windows positions channels"], side: int, shape: tuple[int, ...]
) -> Maps:
    """Joins windows to maps of the given shape: the inverse of `split_windows`."""
    batch, height, width, channels = shape
    parts = windows.reshape(batch, height // side, width // side, side, side, channels)
    return parts.swapaxes(2, 3).reshape(shape)


def pad_by_reflection(maps: Maps, side: int) -> Float[Array, "B more_height more_width channels"]:
    """Pads maps at the bottom and at the right to multiples of a side, by repeated reflection."""
    rows, columns = (
        np.pad(np.arange(size), (0, -size % side), mode="reflect") for size in maps.shape[1:3]
    )
    return maps[:, rows[:, None], columns]
