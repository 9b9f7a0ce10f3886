"""Batches of equal size, cut from long arrays so that a function compiles only once."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from distax.runtime.platforms import default_platform

Tree = TypeVar("Tree")
Result = TypeVar("Result")


SMALLEST = 16
"""Rows of the smallest batch. Smaller ones save little time, and each size is compiled anew."""


def inference_batch(platform: str | None = None) -> int:
    """Returns the number of images per call that fits a CPU's cache, or fills an accelerator.

    Args:
      platform: platform of the devices that compute. Default: that of the default device.
    """
    return 16 if (platform or default_platform()) == "cpu" else 1024


def sequence_batch(frames: int, platform: str | None = None) -> int:
    """Returns the number of sequences per call that have `inference_batch` frames, at least one.

    Args:
      frames: number of frames of a sequence.
      platform: as for `inference_batch`.
    """
    return max(inference_batch(platform) // frames, 1)


def one_at_a_time(platform: str) -> int:
    """Returns the number of images per call for functions that a CPU computes image by image.

    It is 1 on a CPU, so that nothing is padded, and `inference_batch` on an accelerator.

    Args:
      platform: platform of the devices that compute.
    """
    return 1 if platform == "cpu" else inference_batch(platform)


def split_batches(data: Tree, size: int) -> Tree:
    """Splits the first axis of arrays into batches of `size` rows, which must divide its length."""
    return jax.tree.map(lambda leaf: leaf.reshape(len(leaf) // size, size, *leaf.shape[1:]), data)


def join_batches(data: Tree) -> Tree:
    """Joins the first two axes of arrays into one, such as those of sequences and frames."""
    # Unlike a reshape to −1 rows, this also works where a later axis is empty.
    return jax.tree.map(
        lambda leaf: leaf.reshape(leaf.shape[0] * leaf.shape[1], *leaf.shape[2:]), data
    )


def padded_batches(data: Tree, size: int) -> Iterator[tuple[Tree, Bool[Array, " size"]]]:
    """Splits arrays into batches along their first axis and pads the last one with zeros.

    Args:
      data: a tree of arrays of equal length.
      size: rows of a batch.

    Yields:
      A batch, and a mask of its `size` rows that is False for padding.
    """
    length = len(jax.tree.leaves(data)[0])
    for start in range(0, length, size):
        real = min(size, length - start)

        def batch(leaf: Array | np.ndarray, start: int = start, real: int = real) -> Array:
            rows = leaf[start : start + real]
            if real < size:
                # Rows on the host are padded there. JAX would compile a program for every length.
                pad = np.pad if isinstance(rows, np.ndarray) else jnp.pad
                rows = pad(rows, [(0, size - real)] + [(0, 0)] * (rows.ndim - 1))
            return jnp.asarray(rows)

        yield jax.tree.map(batch, data), jnp.arange(size) < real


def pad_rows(tree: Tree, multiple: int) -> Tree:
    """Pads arrays with zeros along their first axis, to a positive multiple of `multiple` rows."""
    length = len(jax.tree.leaves(tree)[0])
    missing = max(-(-length // multiple), 1) * multiple - length
    return jax.tree.map(
        lambda leaf: np.pad(leaf, [(0, missing)] + [(0, 0)] * (np.ndim(leaf) - 1)), tree
    )


def in_batches(
    function: Callable[[Tree], Result], data: Tree, size: int, smallest: int = SMALLEST
) -> Result:
    """Applies a function to long arrays batch by batch.

    On a CPU a batch's results are fetched before the next batch is dispatched, because executions
    that run at the same time can wait for each other's threads for ever. An accelerator computes a
    batch while the results of the previous one are fetched.

    Arrays that fit in one batch are padded: their length is rounded up to a power of two, and then
    to a multiple of `smallest`. So few programs are compiled for arrays of all lengths.

    Args:
      function: a compiled function that treats every row independently.
      data: a tree of arrays with rows along their first axis.
      size: largest number of rows in a batch, a multiple of `smallest`.
      smallest: smallest number of rows in a batch. Every batch is a multiple of it.

    Returns:
      The results as NumPy arrays, with rows along their first axis.
    """
    length = len(jax.tree.leaves(data)[0])
    if length == 0:
        # One row of padding gives the shapes and types of no results.
        data = pad_rows(data, 1)
    needed = max(smallest, 1 << (length - 1).bit_length())
    size = min(size, -(-needed // smallest) * smallest)
    in_flight = 0 if default_platform() == "cpu" else 1
    parts: list[Result] = []
    running: deque[Result] = deque()
    for batch, _ in padded_batches(data, size):
        running.append(function(batch))
        if len(running) > in_flight:
            parts.append(jax.tree.map(np.asarray, running.popleft()))
    parts += [jax.tree.map(np.asarray, last) for last in running]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:length], *parts)


LANES = 128
"""Lanes that a CPU computes at a time. Their matrices just fit its second-level cache. More would
not fit, and fewer would use its vector units less."""


def map_lanes(function: Callable[..., Array], *arrays: Float[Array, "... N"]) -> Array:
    """Applies a function to all lanes of arrays: on a CPU `LANES` at a time, elsewhere at once.

    The choice depends on the platform that the program is lowered for, not on the host that traces
    it.

    Args:
      function: a function that treats every lane on its own.
      arrays: arrays with lanes on their last axis. All have the same number of lanes. It is at
        most `LANES`, or a multiple of `LANES`.
    """
    lanes = arrays[0].shape[-1]
    if lanes <= LANES:
        return function(*arrays)

    def in_chunks(*arrays: Array) -> Array:
        chunks = tuple(
            jnp.moveaxis(array.reshape(*array.shape[:-1], -1, LANES), -2, 0) for array in arrays
        )
        done = jnp.moveaxis(jax.lax.map(lambda chunk: function(*chunk), chunks), 0, -2)
        return done.reshape(*done.shape[:-2], -1)

    return jax.lax.platform_dependent(*arrays, cpu=in_chunks, default=function)
