"""The least-squares answer: the best fit of the likeliest count, with its Gaussian errors."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from distax.fitting.fits import BestFit, Search, best_fit
from distax.fitting.likelihood import residual_and_weight
from distax.fitting.patch import Patch, cut, window_width
from distax.imaging.gaussian import disc_probability, disc_radius
from distax.imaging.scenes import ScenePrior
from distax.imaging.sensor import Sensor
from distax.imaging.targets import CREDIBLE_LEVELS, Targets
from distax.metrics import RADII
from distax.runtime.batching import inference_batch
from distax.runtime.pytree import pytree

TRUSTED_MISFIT = 1.4
"""Misfit above which the imaging model does not explain an image: one in a thousand that it made
has a larger one."""
TRUSTED_COUNT = 0.9
"""Least probability of a count that is to be relied upon."""


@partial(jax.jit, static_argnames=("sensor", "prior", "search"))
def refine(
    images: Float[Array, "N height width"],
    sensor: Sensor,
    prior: ScenePrior,
    search: Search = Search(),
) -> Targets:
    """Targets `[N, K]` by damped least squares, the count by evidence; K is the prior's largest.

    Every count from the prior's smallest to its largest, and none at all, is fitted to every image.
    Each fit's evidence is its likelihood times the share of the prior that its Gaussian covers;
    the count with the largest wins. Where no pixel around the blob can be read there are none, and
    the answer is not to be trusted. Position errors are the Gaussian's, widened by the misfit
    where the imaging model does not explain the image.
    """
    size = max(min(len(images), inference_batch()), 1)
    missing = max(-(-len(images) // size), 1) * size - len(images)
    filled = jnp.pad(images, [(0, missing), (0, 0), (0, 0)])
    batches = filled.reshape(-1, size, *images.shape[1:])

    def answer(batch: Array) -> Targets:
        return refine_patch(cut(batch, sensor, prior), sensor, prior, search)

    found = jax.lax.map(answer, batches)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[: len(images)], found)


def refine_patch(
    patch: Patch, sensor: Sensor, prior: ScenePrior, search: Search = Search()
) -> Targets:
    """What `refine` does, for windows that are cut already and all at once: Targets `[N, K]`."""
    width = window_width(sensor, prior)
    counts = range(prior.min_targets, prior.max_targets + 1)
    fits = [best_fit(patch, count, prior, search, width, sensor.psf) for count in counts]
    residual, weight = residual_and_weight(jnp.zeros_like(patch.counts), patch, 0.0)
    nothing = -0.5 * jnp.sum(weight * residual**2, axis=0)
    # Of pixels that say nothing the prior alone would make as many targets as there may be.
    told = jnp.any(jnp.isfinite(patch.lower) | jnp.isfinite(patch.upper), axis=0)
    weighed = (jnp.where(told, fit.log_evidence, -jnp.inf) for fit in fits)
    evidence = jnp.stack([nothing, *weighed])
    winner = jnp.argmax(evidence, axis=0)
    padded = jax.tree.map(
        lambda *leaves: jnp.stack(leaves), *(_answer(fit, patch, prior.max_targets) for fit in fits)
    )
    best = jnp.maximum(winner - 1, 0)
    answer = jax.tree.map(lambda leaf: leaf[best, jnp.arange(len(best))], padded)
    probability = jnp.where(told, jnp.max(jax.nn.softmax(evidence, axis=0), axis=0), 0.0)
    misfit = jnp.where(winner == 0, _misfit(-2 * nothing, patch), answer.misfit)
    return _with_errors(answer, jnp.where(winner == 0, 0, counts.start + best), misfit, probability)


@pytree
class _Answer:
    position: Float[Array, "N K 2"]
    intensity: Float[Array, "N K"]
    covariance: Float[Array, "N K 3 3"]
    misfit: Float[Array, " N"]


def _answer(fit: BestFit, patch: Patch, slots: int) -> _Answer:
    """One count's fits in image coordinates, padded to a number of slots."""
    count = len(fit.scene)
    scene = jnp.moveaxis(fit.scene, -1, 0)
    own = fit.covariance.reshape(count, 3, count, 3, -1)
    blocks = jnp.stack([own[k, :, k] for k in range(count)])
    pad = [(0, 0), (0, slots - count)]
    return _Answer(
        position=jnp.pad(scene[..., :2] + patch.origin.T[:, None], [*pad, (0, 0)]),
        intensity=jnp.pad(scene[..., 2], pad),
        covariance=jnp.pad(jnp.moveaxis(blocks, -1, 0), [*pad, (0, 0), (0, 0)]),
        misfit=_misfit(fit.squares, patch),
    )


def _misfit(squares: Float[Array, " N"], patch: Patch) -> Float[Array, " N"]:
    """Root-mean-square residual; what the fit takes up, the prior's squares give back."""
    informative = jnp.sum(jnp.isfinite(patch.upper), axis=0)
    return jnp.sqrt(squares / jnp.maximum(informative, 1))


def _with_errors(
    answer: _Answer,
    count: Int[Array, " N"],
    misfit: Float[Array, " N"],
    probability: Float[Array, " N"],
) -> Targets:
    widened = jnp.maximum(misfit, 1.0)[:, None, None, None] ** 2 * answer.covariance
    place = widened[..., :2, :2]
    hit = jnp.stack([disc_probability(place, radius) for radius in RADII], axis=-1)
    mask = jnp.arange(answer.intensity.shape[1]) < count[:, None]
    score = jnp.where(mask, jnp.mean(hit, axis=-1), 0.0)
    order = jnp.argsort(-score, axis=1)
    slots = Targets(
        position=answer.position,
        intensity=answer.intensity,
        mask=mask,
        score=score,
        covariance=place,
        intensity_std=jnp.sqrt(widened[..., 2, 2]),
        hit_probability=hit,
        credible_radius=jnp.stack([disc_radius(place, p) for p in CREDIBLE_LEVELS], axis=-1),
    )
    ranked = jax.tree.map(lambda leaf: jax.vmap(jnp.take, (0, 0, None))(leaf, order, 0), slots)
    return replace(
        ranked,
        count_probability=probability,
        misfit=misfit,
        trusted=(misfit < TRUSTED_MISFIT) & (probability > TRUSTED_COUNT),
    )
