"""Confidence intervals by bootstrap over images (Efron, Ann. Statist. 7, 1979), from merged sums.

A bootstrap draws as many images as there are, with replacement, and computes the score anew. That
would need every image's own sums. Here images are summed in a fixed number of groups, and groups
are drawn. Up to that number of images each group is one image, and the bootstrap is the usual one.
Beyond, the spread has the same expected value, and the number of groups limits how well it is
known: to 7% with 100 groups.

Images count as independent of one another. An image's group is its number modulo the number of
groups, so that the groups do not depend on how images are spread over devices.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from distax.runtime.errors import check_positive

GROUPS = 100
"""Number of groups of images. More groups give steadier intervals and take more memory."""
LEVEL = 0.95
"""Share of the draws whose scores lie between the ends of an interval."""
_REPLICATES = 500
"""Number of draws. With fewer, the ends of an interval depend more on chance."""
_AT_ONCE = 50
"""Draws that are scored at once. More take more memory."""
_SEED = 0

Tree = TypeVar("Tree")


class Interval(NamedTuple):
    """A tree of scores with the trees of the lower and upper ends of their intervals."""

    value: Any
    low: Any
    high: Any


def sum_by_part(tree: Tree, part: Int[Array, " N"], parts: int) -> Tree:
    """Adds up the rows of each part.

    Args:
      tree: arrays `[N, ...]`.
      part: number of each row's part; −1 for rows to leave out.
      parts: number of parts.

    Returns:
      The tree, with arrays `[parts, ...]`.
    """
    inside = jnp.where(part < 0, parts, part)  # JAX leaves out what is beyond the last
    return jax.tree.map(lambda leaf: jax.ops.segment_sum(leaf, inside, parts), tree)


def draw_groups(items: int, groups: int = GROUPS) -> Float[np.ndarray, "draws groups"]:
    """Draws groups with replacement, always the same ones for the same number of items.

    Args:
      items: number of images, or of other items that were summed in groups.
      groups: number of groups, of which the first are in use if there are fewer items.

    Returns:
      How often each group is drawn.

    Raises:
      DistaxError: there are no items or no groups.
    """
    check_positive(items=items, groups=groups)
    used = min(items, groups)
    drawn = np.random.default_rng(_SEED).multinomial(used, np.full(used, 1 / used), _REPLICATES)
    return np.pad(drawn, [(0, 0), (0, groups - used)]).astype(np.float32)


def bootstrap(
    score: Callable[[Any], Any], sums: Any, draws: Float[Array | np.ndarray, "draws groups"]
) -> Interval:
    """Computes scores with their percentile intervals.

    Args:
      score: computes a tree of scores from sums; NaN for scores that are not defined.
      sums: a tree of arrays that add up, with groups along their first axis.
      draws: how often each draw has each group, from `draw_groups`.

    Returns:
      The scores of all groups together, and the ends of the intervals. Draws in which a score is
      not defined are left out of its interval.
    """
    # Sums from any devices go through host memory to one program, as two would round differently.
    value, scores = jax.device_get(_replicates(score, jax.device_get(sums), draws))
    leaves, structure = jax.tree.flatten(scores)
    table = np.stack(leaves)
    defined = np.isfinite(table)
    table = np.where(defined, table, np.where(defined.any(axis=-1, keepdims=True), np.nan, 0.0))
    ends = np.nanquantile(table, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=-1)
    ends = np.where(defined.any(axis=-1), ends, np.nan)
    low, high = (jax.tree.unflatten(structure, list(end)) for end in ends)
    return Interval(value=value, low=low, high=high)


@partial(jax.jit, static_argnames="score")
def _replicates(
    score: Callable[[Any], Any], sums: Any, draws: Float[Array, "draws groups"]
) -> tuple[Any, Any]:
    """Returns the scores of all groups together, and those of each draw."""

    def replicate(times: Float[Array, " groups"]) -> Any:
        drawn = jax.tree.map(
            lambda leaf: jnp.tensordot(times, leaf.astype(jnp.float32), 1, precision="highest"),
            sums,
        )
        return score(drawn)

    whole = jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), sums)
    return score(whole), jax.lax.map(replicate, draws, batch_size=_AT_ONCE)
