"""Batches of one size from long arrays, so that each function compiles once."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

Tree = TypeVar("Tree")
Result = TypeVar("Result")


def inference_batch() -> int:
    """Chooses the number of images a call: as many as fit a CPU's cache or fill an accelerator."""
    return 16 if jax.default_backend() == "cpu" else 1024


def padded_batches(data: Tree, size: int) -> Iterator[tuple[Tree, Bool[Array, " size"]]]:
    """Splits arrays into batches along their first axis and pads the last one with zeros.

    Args:
      data: a tree of arrays of one length.
      size: rows a batch.

    Yields:
      A batch, and a mask of its `size` rows that is False for padding.
    """
    length = len(jax.tree.leaves(data)[0])
    for start in range(0, length, size):
        real = min(size, length - start)

        def batch(leaf: Array | np.ndarray, start: int = start, real: int = real) -> Array:
            rows = jnp.asarray(leaf[start : start + real])
            return jnp.pad(rows, [(0, size - real)] + [(0, 0)] * (rows.ndim - 1))

        yield jax.tree.map(batch, data), jnp.arange(size) < real


def in_batches(function: Callable[[Tree], Result], data: Tree, size: int) -> Result:
    """Applies a function to long arrays batch by batch.

    On a CPU a batch's results are fetched before the next batch is dispatched, because executions
    that run at the same time can wait for each other's threads for ever. An accelerator computes a
    batch while the results of the previous one are fetched. Arrays that fit in one batch are padded
    to a power of two, so that arrays of all lengths compile a function only a few times.

    Args:
      function: a compiled function that treats every row independently.
      data: a tree of arrays with rows along their first axis.
      size: largest number of rows in a batch.

    Returns:
      The results as NumPy arrays, with rows along their first axis.
    """
    length = len(jax.tree.leaves(data)[0])
    size = min(size, 1 << (length - 1).bit_length())
    in_flight = 0 if jax.default_backend() == "cpu" else 1
    parts: list[Result] = []
    running: deque[Result] = deque()
    for batch, _ in padded_batches(data, size):
        running.append(function(batch))
        if len(running) > in_flight:
            parts.append(jax.tree.map(np.asarray, running.popleft()))
    parts += [jax.tree.map(np.asarray, last) for last in running]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:length], *parts)
