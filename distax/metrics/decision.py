"""Positions that maximise the expected number of hits of CSO-mAP (minimum Bayes risk).

CSO-mAP counts how many of five discs around each reported position hold a target. Where the
posterior has several modes a mean would lie between them, where there is nothing. The density of
targets is given as points with masses: draws of a posterior, or the nodes of a network. The
positions are first chosen greedily, one after the other. Then each moves to the median of the mass
that is nearest to it.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from distax.metrics.cso import RADII

_REACH = max(RADII)
"""Distance in pixels within which mass counts for a median: no hit is farther away."""
_MEDIAN_ITERATIONS = 4
_ROUNDS = 2
"""Iterations of each median, and rounds over all positions. More take longer and move positions by
less than 0.01 px."""
_FARTHEST = 0.3
"""Largest distance in pixels of mass that a chosen position removes, a little beyond the largest
radius. A larger one removes mass of other targets. A smaller one leaves mass for a second choice of
the same target."""
_REMOVAL_RADII = np.linspace(0.0, _FARTHEST, 13)
"""Radii in pixels, between which the radius that holds one target's mass is interpolated."""
_LEAST = 1e-9
"""Weight that every point has in a median, so that a median without mass around it is defined."""


def choose_positions(
    place: Float[Array, "points 2"],
    mass: Float[Array, " points"],
    candidates: Float[Array, "candidates 2"],
    cell: float,
    mask: Bool[Array, " K"],
) -> Float[Array, "K 2"]:
    """Chooses the positions with the largest expected number of hits.

    Args:
      place: row and column of the points in pixels.
      mass: expected number of targets at each point; the sum is the number of targets.
      candidates: positions to start from, about a radius apart or nearer.
      cell: side in pixels of the cell that a point stands for. A disc's edge is smoothed over it.
      mask: True for each position that is wanted; these come first.

    Returns:
      `[K, 2]` in pixels.
    """
    position = _greedy(place, mass, candidates, cell, len(mask))
    for _ in range(_ROUNDS):
        share = nearest_mass(place, mass, position, mask)
        position = jax.vmap(_median, in_axes=(None, 0, None, 0))(place, share, cell, position)
    return position


def nearest_mass(
    place: Float[Array, "points 2"],
    mass: Float[Array, " points"],
    position: Float[Array, "K 2"],
    mask: Bool[Array, " K"],
) -> Float[Array, "K points"]:
    """Returns the mass that is nearer to each position than to the others."""
    distance = jnp.where(mask[:, None], distances_to(place, position), jnp.inf)
    return mass * (jnp.argmin(distance, axis=0) == jnp.arange(len(mask))[:, None])


def distances_to(
    place: Float[Array, "points 2"], position: Float[Array, "*K 2"]
) -> Float[Array, "*K points"]:
    """Returns the distance in pixels of every point from positions."""
    # Both coordinates at once would be reduced over an axis of two, which a CPU cannot vectorise.
    row = place[:, 0] - position[..., :1]
    column = place[:, 1] - position[..., 1:]
    return jnp.sqrt(row**2 + column**2)


def share_inside(distance: Array, radius: float | Array, cell: float | Array) -> Array:
    """Returns the share of a point's cell within a radius, by its distance from the centre."""
    return jnp.clip((radius - distance) / cell + 0.5, 0.0, 1.0)


def _greedy(
    place: Float[Array, "points 2"],
    mass: Float[Array, " points"],
    candidates: Float[Array, "candidates 2"],
    cell: float,
    slots: int,
) -> Float[Array, "{slots} 2"]:
    """Chooses one position after the other, each for the most hits of the remaining mass."""
    distance = distances_to(place, candidates)
    hits = sum(share_inside(distance, radius, cell) for radius in RADII)

    def pick(left: Float[Array, " points"], _: None) -> tuple[Array, Array]:
        best = jnp.argmax(jnp.sum(hits * left, axis=-1))
        position = _median(place, left, cell, candidates[best])
        return _without_one(place, left, cell, position), position

    return jax.lax.scan(pick, mass, None, length=slots)[1]


def _median(
    place: Float[Array, "points 2"],
    mass: Float[Array, " points"],
    cell: float,
    position: Float[Array, "2"],
) -> Float[Array, "2"]:
    """Finds the point with the least mean distance to the mass within reach.

    Expected hits fall nearly linearly with the distance, up to the largest radius. So the median is
    close to the best position. The method is Weiszfeld's iteration (Tohoku Math. J. 43, 1937).
    """
    for _ in range(_MEDIAN_ITERATIONS):
        distance = distances_to(place, position)
        near = mass * share_inside(distance, _REACH, cell)
        weight = near / jnp.maximum(distance, cell / 2) + _LEAST
        moment = [jnp.sum(weight * place[:, 0]), jnp.sum(weight * place[:, 1])]
        position = jnp.stack(moment) / jnp.sum(weight)
    return position


def _without_one(
    place: Float[Array, "points 2"],
    mass: Float[Array, " points"],
    cell: float,
    position: Float[Array, "2"],
) -> Float[Array, " points"]:
    """Removes the mass of one target around a position, the nearest first, up to `_FARTHEST`."""
    distance = distances_to(place, position)
    within = [jnp.sum(mass * share_inside(distance, r, cell)) for r in _REMOVAL_RADII.tolist()]
    radius = jnp.interp(1.0, jnp.stack(within), jnp.asarray(_REMOVAL_RADII, mass.dtype))
    return mass * (1 - share_inside(distance, radius, cell))
