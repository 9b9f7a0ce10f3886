"""Decision from draws of the posterior: positions that maximise the expected number of hits.

See `metrics.decision` for the method, and for why it is not the mean of the draws.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from distax.imaging.targets import CREDIBLE_LEVELS, Targets, make_targets
from distax.metrics import RADII
from distax.metrics.decision import choose_positions
from distax.metrics.localization import assign

_CANDIDATES = 192
"""Drawn positions that the choice starts from. More find better starts and take longer."""
_DRAWS = 256
"""Number of draws that expectations are taken over; up to twice as many are not thinned. More draws
have less sampling error and take longer."""
_CELL = 0.01
"""Width in pixels over which a disc's edge is smoothed, much less than the smallest radius. A wider
edge blurs the hits, a narrower one makes the expectation jump from draw to draw."""


def decide(position: Float[Array, "S K 2"], intensity: Float[Array, "S K"]) -> Targets:
    """Finds the targets of one image from draws of its posterior.

    Args:
      position, intensity: equally likely scenes in pixels and counts, with targets in any order.

    Returns:
      Targets `[K]`, highest score first. Positions maximise the expected number of hits, summed
      over `metrics.RADII` as in CSO-mAP. The score is the expected share of hits. In each draw one
      target is assigned to each position. Intensity, covariance, hit probabilities and credible
      radii describe these targets.
    """
    thinned = position[:: max(1, len(position) // _DRAWS)]
    draws, count = thinned.shape[:2]
    place = thinned.reshape(-1, 2)
    spread = jnp.linspace(0, len(place) - 1, _CANDIDATES).astype(int)
    mass, mask = jnp.full(len(place), 1 / draws), jnp.ones(count, bool)
    chosen = choose_positions(place, mass, place[spread], _CELL, mask)
    score = _expected_hits(chosen, thinned)
    order = jnp.argsort(-score)
    return _describe(chosen[order], score[order], position, intensity)


def _expected_hits(
    place: Float[Array, "K 2"], position: Float[Array, "S K 2"]
) -> Float[Array, " K"]:
    """Computes the share of draws with a target within a radius of each place, mean over radii."""
    distance = jnp.min(jnp.linalg.norm(place[:, None, None] - position, axis=-1), axis=-1)
    return jnp.mean(distance[..., None] <= jnp.array(RADII), axis=(1, 2), dtype=float)


def _describe(
    place: Float[Array, "K 2"],
    score: Float[Array, " K"],
    position: Float[Array, "S K 2"],
    intensity: Float[Array, "S K"],
) -> Targets:
    """Summarises the targets that the draws assign to each place, by optimal assignment.

    The order of targets differs between draws, so their slots cannot be compared directly.
    """
    placed = jnp.broadcast_to(place, position.shape)
    pairing = assign(make_targets(placed, intensity), make_targets(position, intensity))
    there = jnp.take_along_axis(position, pairing.partner[..., None], axis=1)
    brightness = jnp.take_along_axis(intensity, pairing.partner, axis=1)
    offset = there - jnp.mean(there, axis=0)
    return Targets(
        position=place,
        intensity=jnp.mean(brightness, axis=0),
        mask=jnp.ones(len(place), bool),
        score=score,
        covariance=jnp.einsum("ski,skj->kij", offset, offset) / len(offset),
        intensity_std=jnp.std(brightness, axis=0),
        hit_probability=jnp.mean(
            pairing.distance[..., None] <= jnp.array(RADII), axis=0, dtype=float
        ),
        credible_radius=jnp.quantile(pairing.distance, jnp.array(CREDIBLE_LEVELS), axis=0).T,
    )
