"""Long arrays in batches of one size, so that each function compiles once."""

from collections.abc import Iterator
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

Tree = TypeVar("Tree")


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
