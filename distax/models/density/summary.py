"""Uncertainty of the reported positions: covariances, hit probabilities and credible radii."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distax.imaging.gaussian import disc_probability
from distax.imaging.targets import CREDIBLE_LEVELS
from distax.metrics import RADII
from distax.metrics.decision import distances_to, share_inside
from distax.models.density.nodes import Nodes

_SHARPEST = 0.1
"""Smallest standard deviation that a density on nodes resolves, in node spacings. A smaller floor
gives overconfident covariances, a larger one hides sharp positions."""


def distance_grid(reach: float) -> Float[Array, " distances"]:
    """Returns the distances in pixels, up to three times the reach, to compute probabilities at.

    The matching radii come first. The others are a table, finer near zero, from which credible
    radii are interpolated.
    """
    return jnp.concatenate([jnp.array(RADII), 3 * reach * jnp.linspace(0.0, 1.0, 49) ** 3])


def hits_and_radii(
    within: Float[Array, "K distances"], reach: float
) -> tuple[Float[Array, "K R"], Float[Array, "K L"]]:
    """Reads hit probabilities and credible radii off the probabilities at `distance_grid`."""
    hits, table = jnp.split(within, [len(RADII)], axis=1)
    grid, levels = distance_grid(reach)[len(RADII) :], jnp.array(CREDIBLE_LEVELS)
    return hits, jax.vmap(lambda row: jnp.interp(levels, row, grid))(table)


def density_within(
    share: Float[Array, "K points"],
    place: Float[Array, "points 2"],
    cell: float,
    position: Float[Array, "K 2"],
    distances: Float[Array, " distances"],
) -> Float[Array, "K distances"]:
    """Computes the probability that each target lies within distances, by its share of the mass.

    Args:
      share: mass of each point that belongs to each target.
      place: row and column of the points in pixels.
      cell: side in pixels of the cell that a point stands for.
      position: reported positions in pixels.
      distances: distances in pixels.
    """
    inside = share_inside(distances_to(place, position)[..., None], distances, cell)
    return jnp.einsum("kn,knr->kr", normalise(share), inside)


def gaussian_within(
    covariance: Float[Array, "K 2 2"], distances: Float[Array, " distances"]
) -> Float[Array, "K distances"]:
    """Computes the probability that each target lies within distances, for Gaussian errors."""
    return jax.vmap(partial(disc_probability, covariance), out_axes=1)(distances)


def covariances(
    share: Float[Array, "K nodes"], nodes: Nodes, position: Float[Array, "K 2"]
) -> Float[Array, "K 2 2"]:
    """Computes the covariance in px² of each position's share of the mass, about the position.

    `Nodes.spread` divides each training target among neighbouring nodes, which adds variance. This
    variance is subtracted.
    """
    offset = nodes.place - position[:, None]
    raw = jnp.einsum("kn,kni,knj->kij", normalise(share), offset, offset)
    variance = jnp.diagonal(raw, axis1=-2, axis2=-1) + 1e-12
    floor = (_SHARPEST * nodes.spacing) ** 2
    scale = jnp.sqrt(jnp.maximum(variance - nodes.spread_variance(position), floor) / variance)
    # The last term keeps the matrix positive definite for a density at a single node.
    return raw * scale[:, :, None] * scale[:, None, :] + 1e-3 * floor * jnp.eye(2)


def normalise(share: Float[Array, "K points"]) -> Float[Array, "K points"]:
    """Divides each target's share of the mass by its sum."""
    return share / jnp.maximum(jnp.sum(share, axis=-1, keepdims=True), 1e-6)
