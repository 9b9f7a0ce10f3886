"""Calibration of stated errors: coverage of credible regions, reliability of hit probabilities.

Each found target is compared with the true target that `assign` pairs it with. An unpaired found
target counts as a miss at every level and radius. Sums of batches are merged by adding them.
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
"""Number of equal bins of probability in which hits are counted. More bins resolve the reliability
curve more finely and hold fewer detections each."""


@pytree
class CoverageSums:
    """Sums for the coverage of credible regions: how often the true target lies inside.

    Attributes:
      regions: number of credible regions, one for each found target.
      covered: `[L]`, how many of them hold the paired true target, for each level of
        `targets.CREDIBLE_LEVELS`.
    """

    regions: Int[Array, ""]
    covered: Int[Array, " L"]

    @classmethod
    def of(
        cls, found: Targets, pairing: Pairing, valid: Bool[Array, "*batch"] | bool = True
    ) -> "CoverageSums":
        """Computes the sums over a batch of images.

        Args:
          found: found targets `[..., K]`.
          pairing: their true targets, by `assign`.
          valid: `[...]`, False for images to leave out.

        Raises:
          DistaxError: `found` has no credible radii.
        """
        if found.credible_radius is None:
            raise DistaxError("coverage needs an estimator that reports credible radii")
        real = _counted_slots(found, valid)
        covered = real[..., None] & (pairing.distance[..., None] <= found.credible_radius)
        return cls(regions=jnp.sum(real), covered=jnp.sum(covered, axis=tuple(range(real.ndim))))

    @property
    def coverage(self) -> Float[Array, " L"]:
        """Share of found targets whose true target is inside each region, `[L]`.

        It equals `CREDIBLE_LEVELS` if the regions are calibrated.
        """
        return self.covered / self.regions


@pytree
class ReliabilitySums:
    """Sums for the reliability of hit probabilities, in bins of the reported probability.

    Attributes:
      detections: `[R, bins]`, number of found targets, binned by the reported probability that
        they lie within each matching radius of their true target.
      reported: `[R, bins]`, sum of the reported probabilities in each bin.
      hits: `[R, bins]`, number of found targets in each bin that do lie within that radius.
    """

    detections: Int[Array, "R bins"]
    reported: ExactSum
    hits: Int[Array, "R bins"]

    @classmethod
    def of(
        cls, found: Targets, pairing: Pairing, valid: Bool[Array, "*batch"] | bool = True
    ) -> "ReliabilitySums":
        """Computes the sums over a batch of images.

        Args:
          found: found targets `[..., K]`.
          pairing: their true targets, by `assign`.
          valid: `[...]`, False for images to leave out.

        Raises:
          DistaxError: `found` has no hit probabilities.
        """
        probability = found.hit_probability
        if probability is None:
            raise DistaxError("reliability needs an estimator that reports hit probabilities")
        hit = pairing.distance[..., None] <= jnp.asarray(RADII)
        number = jnp.clip(jnp.floor(probability * BINS).astype(jnp.int32), 0, BINS - 1)
        # Padding is in no bin.
        number = jnp.where(_counted_slots(found, valid)[..., None], number, -1)
        member = number[..., None] == jnp.arange(BINS)
        images_and_slots = tuple(range(hit.ndim - 1))
        return cls(
            detections=jnp.sum(member, axis=images_and_slots),
            reported=ExactSum.of(
                jnp.broadcast_to(probability[..., None], member.shape), member, images_and_slots
            ),
            hits=jnp.sum(member & hit[..., None], axis=images_and_slots),
        )

    @property
    def mean(self) -> Float[Array, " R"]:
        """Mean reported probability at each radius."""
        return jnp.sum(self.reported.total, axis=-1) / jnp.sum(self.detections, axis=-1)

    @property
    def hit_rate(self) -> Float[Array, " R"]:
        """Share of the found targets that lie within each radius."""
        return jnp.sum(self.hits, axis=-1) / jnp.sum(self.detections, axis=-1)


def _counted_slots(found: Targets, valid: Bool[Array, "*batch"] | bool) -> Bool[Array, "*batch K"]:
    return jnp.logical_and(found.mask, jnp.broadcast_to(valid, found.count.shape)[..., None])
