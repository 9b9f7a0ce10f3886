"""Target counts and position errors under optimal assignment."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from distax.imaging.targets import Targets, with_slots
from distax.metrics.cso import RADII
from distax.metrics.exact_sum import ExactSum
from distax.metrics.matching import all_best_partners, pair_distances
from distax.runtime.pytree import pytree


@pytree
class Pairing:
    """The true target that each found target is assigned to.

    Attributes:
      partner: `[..., K]`, slot of the true target; −1 for padding and for found targets that are
        left over.
      distance: `[..., K]`, distance in pixels to the true target; infinite if there is none.
    """

    partner: Int[Array, "*batch K"]
    distance: Float[Array, "*batch K"]

    @property
    def paired(self) -> Bool[Array, "*batch K"]:
        """True if the slot has a true target."""
        return self.partner >= 0


def assign(found: Targets, truth: Targets) -> Pairing:
    """Pairs found and true targets one to one with the smallest sum of distances.

    The number of pairs is the smaller of the two counts. Found targets whose position is not finite
    are never paired.

    Args:
      found: targets `[..., K]`.
      truth: targets `[..., M]`.

    Raises:
      DistaxError: found and truth have different numbers of images.
    """
    answers, found, truth = found.mask.shape[-1], with_slots(found), with_slots(truth)
    distance = pair_distances(found, truth)
    real = found.mask[..., :, None] & truth.mask[..., None, :] & jnp.isfinite(distance)
    # The Hungarian algorithm maximises the total worth. A pair is worth more than the sum of all
    # distances, so that the largest possible number of pairs is made. It is not worth much more,
    # because float32 would then lose the distances beside it.
    padding = 1.0 + jnp.sum(jnp.where(real, distance, 0.0), axis=(-2, -1), keepdims=True)
    worth = jnp.where(real, padding - distance, 0.0)
    partner = all_best_partners(worth)
    taken = jnp.take_along_axis(distance, jnp.maximum(partner, 0)[..., None], axis=-1)[..., 0]
    apart = jnp.where(partner >= 0, taken, jnp.inf)
    return Pairing(partner=partner[..., :answers], distance=apart[..., :answers])


@pytree
class LocalizationSums:
    """Sums for count accuracy and localisation error, merged by adding.

    Attributes:
      images: number of images.
      right_count: number of images with the right number of targets.
      targets: number of true targets.
      pairs: number of true targets that a found target is assigned to.
      within: `[R]`, number of true targets whose assigned target lies within each of `RADII`.
      squared_error: sum of the squared distances of the pairs in px².
    """

    images: Int[Array, ""]
    right_count: Int[Array, ""]
    targets: Int[Array, ""]
    pairs: Int[Array, ""]
    within: Int[Array, " R"]
    squared_error: ExactSum

    @classmethod
    def of(
        cls,
        found: Targets,
        truth: Targets,
        pairing: Pairing,
        valid: Bool[Array, "*batch"] | bool = True,
    ) -> "LocalizationSums":
        """Computes the sums over a batch of images.

        Args:
          found: found targets `[..., K]`.
          truth: true targets `[..., M]` of the same images.
          pairing: their pairs, by `assign`.
          valid: `[...]`, False for images to leave out.
        """
        valid = jnp.broadcast_to(valid, found.count.shape)
        distance = jnp.where(valid[..., None], pairing.distance, jnp.inf)
        paired = jnp.isfinite(distance)
        near = distance[..., None] <= jnp.asarray(RADII)
        return cls(
            images=jnp.sum(valid),
            right_count=jnp.sum((found.count == truth.count) & valid),
            targets=jnp.sum(jnp.where(valid, truth.count, 0)),
            pairs=jnp.sum(paired),
            within=jnp.sum(near, axis=tuple(range(distance.ndim))),
            squared_error=ExactSum.of(distance**2, where=paired),
        )

    @property
    def count_accuracy(self) -> Float[Array, ""]:
        """Share of images with the right number of targets."""
        return self.right_count / self.images

    @property
    def rmse(self) -> Float[Array, ""]:
        """Root-mean-square distance in pixels between assigned pairs."""
        return jnp.sqrt(self.squared_error.total / self.pairs)

    @property
    def share_within(self) -> Float[Array, " R"]:
        """Share of the true targets whose assigned target lies within each of `RADII`."""
        return self.within / self.targets
