"""Scores with their confidence intervals, as plain numbers."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from distax.metrics.bootstrap import bootstrap
from distax.metrics.cso import RADII


def with_intervals(
    score: Callable[[Any], dict[str, Any]],
    groups: Any,
    draws: Float[np.ndarray, "draws groups"],
    exact: dict[str, Any],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Computes scores and the ends of their 95% intervals by `metrics.bootstrap`.

    Args:
      score: computes scores from sums; NaN for scores that are not defined.
      groups: the sums of each group of images.
      draws: how often each draw has each group.
      exact: exact values of the scores that the groups' sums give only roughly. Each replaces the
        rough value and shifts its interval by the difference. These scores are shares, so the
        shifted ends are clipped to 0 and 1.

    Returns:
      The scores, and a dictionary of the same form with the lower and the upper end of each as a
      list. None stands for a score that is not defined, and for a dictionary of such scores alone.
    """
    rough = bootstrap(score, groups, draws)
    value = rough.value | jax.device_get(exact)

    def ends(value: Any, rough: Any, low: Any, high: Any) -> list[float]:
        if not np.isfinite(value):
            return [np.nan, np.nan]
        moved = np.array([low, high]) + (value - rough)
        return (np.clip(moved, 0, 1) if value != rough else moved).tolist()

    intervals = jax.tree.map(ends, value, *rough)
    return _plain(value), _plain(intervals)


def _plain(tree: Any) -> Any:
    """Converts to numbers; undefined ones, and dictionaries of nothing else, to None."""
    if isinstance(tree, dict):
        plain = {name: _plain(leaf) for name, leaf in tree.items()}
        return None if all(leaf is None for leaf in plain.values()) else plain
    if tree is None or not np.all(np.isfinite(tree)):
        return None
    return tree if isinstance(tree, list) else float(tree)


def by_radius(values: Any) -> dict[str, Any]:
    """Makes a dictionary from a tree of arrays `[R, ...]`, with the matching radii as keys."""
    return by_key(RADII, values)


def by_key(keys: Iterable[float], values: Any) -> dict[str, Any]:
    """Makes a dictionary from a tree of arrays whose first axis has an entry for each key.

    Keys are written with two decimals.
    """
    return {
        f"{key:.2f}": jax.tree.map(lambda leaf, row=row: leaf[row], values)
        for row, key in enumerate(keys)
    }
