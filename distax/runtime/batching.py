"""Long arrays in batches of one size, so that each function compiles once."""

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
    """Images a step: few enough to stay in a CPU's cache, or enough to fill an accelerator."""
    return 16 if jax.default_backend() == "cpu" else 1024


def padded_batches(data: Tree, size: int) -> Iterator[tuple[Tree, Bool[Array, " size"]]]:
    """Batches of a tree of arrays along their first axis, the last one padded with zeros.

    Yields:
      A batch, and which of its `size` rows are real.
    """
    length = len(jax.tree.leaves(data)[0])
    for start in range(0, length, size):
        real = min(size, length - start)

        def batch(leaf: Array | np.ndarray, start: int = start, real: int = real) -> Array:
            rows = jnp.asarray(leaf[start : start + real])
            return jnp.pad(rows, [(0, size - real)] + [(0, 0)] * (rows.ndim - 1))

        yield jax.tree.map(batch, data), jnp.arange(size) < real


def in_batches(function: Callable[[Tree], Result], data: Tree, size: int) -> Result:
    """A function's results for a long tree of arrays, computed batch by batch.

    On a CPU a batch is fetched before the next is dispatched: executions that run at the same time
    can wait for each other's threads for ever. An accelerator computes a batch while the one before
    is fetched. A tree that fits in one batch is padded
    to a power of two, so that trees of all lengths together compile a function a few times only.

    Args:
      function: compiled; treats every row on its own.
      data: arrays with rows along their first axis.
      size: rows at a time, at most.

    Returns:
      The results, rows along the first axis, as NumPy arrays.
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
