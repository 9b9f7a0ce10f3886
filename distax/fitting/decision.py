"""From draws of a scene to an answer: positions that many targets are expected to lie close to.

The score counts hits, so the answer is the set of positions with the largest expected number of
them (the minimum-Bayes-risk decision). A mean would blur separate explanations, and targets that
trade places, into positions where there is nothing.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from distax.imaging.targets import CREDIBLE_LEVELS, Targets, make_targets
from distax.metrics import RADII
from distax.metrics.localization import assign

_CANDIDATES = 192
"""Positions considered for each target."""
_DRAWS = 256
"""Draws that expectations are taken over."""
_SWEEPS = 1
"""Rounds in which each position is chosen anew, given the others."""
_SMOOTHING = 0.07
"""Width in pixels of the neighbourhood whose mean is a candidate."""


def decide(position: Float[Array, "S K 2"], intensity: Float[Array, "S K"]) -> Targets:
    """The targets of one image from draws of its posterior.

    Args:
      position, intensity: equally likely scenes, in pixels and counts, targets in any order.

    Returns:
      Targets `[K]`, the surest first: positions that maximise the expected number of hits, summed
      over `metrics.RADII` as CSO-mAP counts them; the expected share of hits as score; mean and
      standard deviation of the intensity, and covariance, hit probabilities and credible radii of
      the position, of the target that each draw assigns to the place.
    """
    draws, count = len(position), position.shape[1]
    thinned = position[:: max(1, draws // _DRAWS)]
    spread = jnp.linspace(0, thinned.shape[0] * count - 1, _CANDIDATES).astype(int)
    candidates = _neighbourhood_means(thinned.reshape(-1, 2)[spread], thinned)
    hits = _hits(candidates, thinned)
    chosen = _choose(hits, count)
    score = jnp.mean(jnp.any(hits[chosen], axis=-1), axis=(-2, -1))
    order = jnp.argsort(-score)
    return _describe(candidates[chosen[order]], score[order], position, intensity)


def _neighbourhood_means(
    candidates: Float[Array, "C 2"], position: Float[Array, "S K 2"]
) -> Float[Array, "C 2"]:
    """Candidates moved to the mean of the drawn targets around them: draws scatter, modes less."""
    flat = position.reshape(-1, 2)
    squared = jnp.sum((candidates[:, None] - flat) ** 2, axis=-1)
    weight = jnp.exp(-squared / (2 * _SMOOTHING**2))
    return weight @ flat / jnp.sum(weight, axis=1, keepdims=True)


def _hits(
    candidates: Float[Array, "C 2"], position: Float[Array, "S K 2"]
) -> Bool[Array, "C S R K"]:
    """Which target of which draw a detection at each candidate would hit, by radius.

    As in the metric, only the target nearest to a detection can be hit by it.
    """
    squared = jnp.sum((candidates[:, None, None] - position) ** 2, axis=-1)
    nearest = squared == jnp.min(squared, axis=-1, keepdims=True)
    radii = jnp.array(RADII)[:, None]
    return nearest[:, :, None] & (squared[:, :, None] <= radii**2)


def _choose(hits: Bool[Array, "C S R K"], count: int) -> Int[Array, " K"]:
    """Candidates that together hit most: greedily, then each once more given the others."""
    taken = jnp.zeros(hits.shape[1:], jnp.int32)

    def best(taken: Array) -> Int[Array, ""]:
        return jnp.argmax(jnp.sum(hits & (taken == 0), axis=(1, 2, 3)))

    def pick(step: Int[Array, ""], state: tuple[Array, Array]) -> tuple[Array, Array]:
        chosen, taken = state
        slot = step % count
        again = step >= count
        taken = taken - (hits[chosen[slot]] & again)
        choice = best(taken)
        return chosen.at[slot].set(choice), taken + hits[choice]

    start = (jnp.zeros(count, int), taken)
    return jax.lax.fori_loop(0, count * (1 + _SWEEPS), pick, start)[0]


def _describe(
    place: Float[Array, "K 2"],
    score: Float[Array, " K"],
    position: Float[Array, "S K 2"],
    intensity: Float[Array, "S K"],
) -> Targets:
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
