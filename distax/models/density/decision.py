"""From a density of targets to the positions that can be expected to hit most of them.

CSO-mAP counts how many of five discs around each reported position hold a target. The positions
here maximise the expected number of such hits: greedily, one disc-shaped kernel after the other,
and then each among the mass that is nearest to it.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from distax.metrics import RADII
from distax.models.density.nodes import Nodes

_REACH = max(RADII)
# Iterations of a median and rounds of settling, after which positions move by less than 0.01 px.
_MEDIAN_ITERATIONS = 4
_ROUNDS = 2


def choose(
    mass: Float[Array, " nodes"], nodes: Nodes, mask: Bool[Array, " K"]
) -> Float[Array, "K 2"]:
    """The positions that can be expected to hit most targets.

    Args:
      mass: expected number of targets at each node; its sum is the number of targets.
      nodes: where the nodes stand.
      mask: True for as many positions as are wanted, True ones first.

    Returns:
      `[K, 2]` in pixels.
    """
    position = _greedy(mass, nodes, len(mask))
    for _ in range(_ROUNDS):
        share = nearest_mass(mass, nodes, position, mask)
        position = jax.vmap(_median, in_axes=(0, None, 0))(share, nodes, position)
    return position


def nearest_mass(
    mass: Float[Array, " nodes"],
    nodes: Nodes,
    position: Float[Array, "K 2"],
    mask: Bool[Array, " K"],
) -> Float[Array, "K nodes"]:
    """The mass that is nearer to each position than to the others."""
    distance = jnp.where(mask[:, None], nodes.distances(position), jnp.inf)
    return mass * (jnp.argmin(distance, axis=0) == jnp.arange(len(mask))[:, None])


def _greedy(mass: Float[Array, " nodes"], nodes: Nodes, slots: int) -> Float[Array, "{slots} 2"]:
    """One position after the other, each where most of what is left can be hit.

    Every other node along each axis is a candidate: the median goes on from there.
    """
    with jax.ensure_compile_time_eval():
        candidates = nodes.place.reshape(nodes.side, nodes.side, 2)[::2, ::2].reshape(-1, 2)
        distance = nodes.distances(candidates)
        gain = jnp.mean(nodes.inside(distance[..., None], jnp.array(RADII)), axis=-1)

    def pick(left: Float[Array, " nodes"], _: None) -> tuple[Array, Array]:
        position = _median(left, nodes, candidates[jnp.argmax(gain @ left)])
        return _without_one(left, nodes, position), position

    return jax.lax.scan(pick, mass, None, length=slots)[1]


def _median(
    mass: Float[Array, " nodes"], nodes: Nodes, position: Float[Array, "2"]
) -> Float[Array, "2"]:
    """The point with the least mean distance to the mass within reach (Weiszfeld's iteration).

    Expected hits fall nearly linearly with the distance, up to the largest radius.
    """
    for _ in range(_MEDIAN_ITERATIONS):
        distance = nodes.distances(position)
        near = mass * nodes.inside(distance, _REACH)
        weight = near / jnp.maximum(distance, nodes.spacing / 2) + 1e-9
        position = weight @ nodes.place / jnp.sum(weight)
    return position


def _without_one(
    mass: Float[Array, " nodes"], nodes: Nodes, position: Float[Array, "2"]
) -> Float[Array, " nodes"]:
    """The mass less what a position answers for: the nearest mass of one target, not too far."""
    radii = jnp.linspace(0.0, 0.3, 13)
    distance = nodes.distances(position)
    within = mass @ nodes.inside(distance[:, None], radii)
    return mass * (1 - nodes.inside(distance, jnp.interp(1.0, within, radii)))
