"""Whether an estimator's statements about its own errors are true.

Each found target is held against the true one that `assign` pairs it with; one that has none is
outside every region and within no radius. All sums merge by adding.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from distax.imaging.targets import Targets
from distax.metrics.cso import RADII
from distax.metrics.exact_sum import ExactSum
from distax.metrics.localization import Pairing
from distax.runtime.errors import DistaxError
from distax.runtime.pytree import pytree

BINS = 10
"""Equal bins of probability in which hits are counted."""


@pytree
class CoverageSums:
    """How often the true target lies in a credible region.

    Attributes:
      regions: number of found targets.
      covered: `[L]`, those whose true target lies within `credible_radius`, for each of
        `CREDIBLE_LEVELS`.
    """

    regions: Int[Array, ""]
    covered: Int[Array, " L"]

    @classmethod
    def of(
        cls, found: Targets, pairing: Pairing, valid: Bool[Array, "*batch"] | bool = True
    ) -> "CoverageSums":
        """Sums over a batch of images, or over its valid ones.

        Raises:
          DistaxError: `found` has no credible radii.
        """
        if found.credible_radius is None:
            raise DistaxError("coverage needs an estimator that reports credible radii")
        real = _real(found, valid)
        covered = real[..., None] & (pairing.distance[..., None] <= found.credible_radius)
        return cls(regions=jnp.sum(real), covered=jnp.sum(covered, axis=tuple(range(real.ndim))))

    @property
    def coverage(self) -> Float[Array, " L"]:
        """Share of true targets inside each region; calibrated is `CREDIBLE_LEVELS`."""
        return self.covered / self.regions


@pytree
class ReliabilitySums:
    """Reported hit probabilities and how often they came true, in bins of the former.

    Attributes:
      detections: `[R, bins]`, found targets by their probability of lying within each of `RADII`.
      reported: `[R, bins]`, sum of their probabilities.
      hits: `[R, bins]`, those that do.
    """

    detections: Int[Array, "R bins"]
    reported: ExactSum
    hits: Int[Array, "R bins"]

    @classmethod
    def of(
        cls, found: Targets, pairing: Pairing, valid: Bool[Array, "*batch"] | bool = True
    ) -> "ReliabilitySums":
        """Sums over a batch of images, or over its valid ones.

        Raises:
          DistaxError: `found` has no hit probabilities.
        """
        probability = found.hit_probability
        if probability is None:
            raise DistaxError("reliability needs an estimator that reports hit probabilities")
        hit = pairing.distance[..., None] <= jnp.asarray(RADII)
        number = jnp.clip(jnp.floor(probability * BINS).astype(jnp.int32), 0, BINS - 1)
        # Padding is in no bin.
        number = jnp.where(_real(found, valid)[..., None], number, -1)
        member = number[..., None] == jnp.arange(BINS)
        images_and_slots = tuple(range(hit.ndim - 1))
        return cls(
            detections=jnp.sum(member, axis=images_and_slots),
            reported=ExactSum.of(
                jnp.broadcast_to(probability[..., None], member.shape), member, images_and_slots
            ),
            hits=jnp.sum(member & hit[..., None], axis=images_and_slots),
        )


def _real(found: Targets, valid: Bool[Array, "*batch"] | bool) -> Bool[Array, "*batch K"]:
    return jnp.logical_and(found.mask, jnp.broadcast_to(valid, found.count.shape)[..., None])
