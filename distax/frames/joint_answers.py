"""Answers of joint fits: targets with scores and errors, and how likely their number is."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from distax.frames.joint import Joint
from distax.imaging.gaussian import disc_probability, disc_radius
from distax.imaging.targets import CREDIBLE_LEVELS, Targets
from distax.metrics import RADII
from distax.runtime.batching import in_batches

_AT_ONCE = 128
"""Targets whose errors are computed at a time. One size makes one small program."""


def targets_of(joint: Joint, misfit: Float[np.ndarray, " K"]) -> Targets:
    """Returns targets with the Gaussian errors of a joint fit, as `refine` states them.

    Args:
      joint: the fit.
      misfit: misfit of each target's blob, by which errors are multiplied if it is above 1.
    """
    covariance = joint.covariance * np.maximum(misfit, 1.0)[:, None, None] ** 2
    place = covariance[:, :2, :2].astype(np.float32)
    hit, radius = in_batches(_discs, place, _AT_ONCE, smallest=_AT_ONCE)
    return Targets(
        position=joint.position,
        intensity=joint.intensity.astype(np.float32),
        mask=np.ones(len(place), bool),
        score=hit.mean(axis=-1),
        covariance=place,
        intensity_std=np.sqrt(covariance[:, 2, 2]).astype(np.float32),
        hit_probability=hit,
        credible_radius=radius,
    )


@jax.jit
def _discs(covariance: Float[Array, "K 2 2"]) -> tuple[Float[Array, "K R"], Float[Array, "K L"]]:
    def each(function: partial[Array], values: tuple[float, ...]) -> Array:
        shape = (len(covariance), len(values))
        wide = jnp.broadcast_to(covariance[:, None], (*shape, 2, 2))
        return function(wide, jnp.broadcast_to(jnp.array(values), shape))

    return each(partial(disc_probability), tuple(RADII)), each(
        partial(disc_radius), CREDIBLE_LEVELS
    )


def count_probability(
    significance: Float[np.ndarray, " K"], least: float, blob: Int[np.ndarray, " K"], number: int
) -> Float[np.ndarray, " B"]:
    """Returns the probability that none of a blob's targets is one too many.

    A target whose significance s is the least kept, t, is as likely as not. The odds of others
    follow from the rise of χ² without them, exp((s² − t²) / 2).

    Args:
      significance: significance of each target in the joint fit.
      least: the least significance of a target that is kept.
      blob: index of each target's blob.
      number: number of blobs.
    """
    odds = np.clip((significance**2 - least**2) / 2, -50, 50)
    probability = np.ones(number)
    np.multiply.at(probability, blob, 1 / (1 + np.exp(-odds)))
    return probability
