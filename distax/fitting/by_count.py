"""Estimation of images by their number of targets: all of one number together."""

from collections.abc import Callable
from typing import TypeVar

import jax
import numpy as np
from jaxtyping import Bool

from distax.imaging.targets import OF_TARGETS, Targets

Rows = TypeVar("Rows")


def unmix_by_count(
    rows: Rows,
    fitted: Targets,
    unmix: Callable[[Rows, int], Targets],
    among: Bool[np.ndarray, " N"] | None = None,
) -> Targets:
    """Replaces the targets of fits by those of another estimator that is told their number.

    Args:
      rows: a tree of arrays with images along the first axis.
      fitted: the images' targets by `refine`, which give the number of targets.
      unmix: returns the targets `[N, count]` of some of the rows, given their number. Positions
        that are not finite mean that an image cannot be estimated. The answer of `fitted` then
        stays, and is not trusted.
      among: False for images whose answer of `fitted` stays as it is. Default: True for all.

    Returns:
      Targets `[N, K]`. The fields of images are those of `fitted`.
    """
    answer = jax.tree.map(np.array, fitted)
    counts = np.asarray(fitted.count)
    if among is not None:
        counts = np.where(among, counts, 0)
    for count in sorted(set(counts.tolist()) - {0}):
        chosen = np.flatnonzero(counts == count)
        some = jax.tree.map(lambda leaf, chosen=chosen: np.asarray(leaf)[chosen], rows)
        found = unmix(some, count)
        finite = np.isfinite(found.position).all(axis=(1, 2))
        for name in OF_TARGETS:
            getattr(answer, name)[chosen[finite], :count] = getattr(found, name)[finite]
        answer.trusted[chosen[~finite]] = False
    return answer
