"""How far from the reported positions their targets may be."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distax.imaging.gaussian import disc_probability
from distax.imaging.targets import CREDIBLE_LEVELS
from distax.metrics import RADII
from distax.models.density.nodes import Nodes

# Least standard deviation that a density on nodes can tell from none, in node spacings.
_SHARPEST = 0.1


def distance_grid(nodes: Nodes) -> Float[Array, " distances"]:
    """Distances in pixels at which to tabulate how targets are spread: fine near zero."""
    return jnp.concatenate([jnp.array(RADII), 3 * nodes.reach * jnp.linspace(0.0, 1.0, 49) ** 3])


def hits_and_radii(
    within: Float[Array, "K distances"], nodes: Nodes
) -> tuple[Float[Array, "K R"], Float[Array, "K L"]]:
    """Probabilities of a hit and credible radii, from probabilities at `distance_grid`."""
    hits, table = jnp.split(within, [len(RADII)], axis=1)
    grid, levels = distance_grid(nodes)[len(RADII) :], jnp.array(CREDIBLE_LEVELS)
    return hits, jax.vmap(lambda row: jnp.interp(levels, row, grid))(table)


def density_within(
    share: Float[Array, "K nodes"],
    nodes: Nodes,
    position: Float[Array, "K 2"],
    distances: Float[Array, " distances"],
) -> Float[Array, "K distances"]:
    """Probability that each target is within distances, when its share of the mass is a density."""
    inside = nodes.inside(nodes.distances(position)[..., None], distances)
    return jnp.einsum("kn,knr->kr", _normalise(share), inside)


def gaussian_within(
    covariance: Float[Array, "K 2 2"], distances: Float[Array, " distances"]
) -> Float[Array, "K distances"]:
    """The same for Gaussians about the positions."""
    return jax.vmap(partial(disc_probability, covariance), out_axes=1)(distances)


def covariances(
    share: Float[Array, "K nodes"], nodes: Nodes, position: Float[Array, "K 2"]
) -> Float[Array, "K 2 2"]:
    """Second moments about each position of its share of the mass, in px².

    Less the variance that mass has only because it is shared by neighbouring nodes.
    """
    offset = nodes.place - position[:, None]
    raw = jnp.einsum("kn,kni,knj->kij", _normalise(share), offset, offset)
    variance = jnp.diagonal(raw, axis1=-2, axis2=-1) + 1e-12
    floor = (_SHARPEST * nodes.spacing) ** 2
    scale = jnp.sqrt(jnp.maximum(variance - nodes.spread_variance(position), floor) / variance)
    return raw * scale[:, :, None] * scale[:, None, :] + 1e-3 * floor * jnp.eye(2)


def _normalise(share: Float[Array, "K nodes"]) -> Float[Array, "K nodes"]:
    return share / jnp.maximum(jnp.sum(share, axis=-1, keepdims=True), 1e-6)
