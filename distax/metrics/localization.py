"""Target counts and position errors under optimal assignment."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from distax.imaging.targets import Targets
from distax.metrics.cso import RADII
from distax.metrics.exact_sum import ExactSum
from distax.metrics.matching import best_partners, pair_distances
from distax.runtime.pytree import pytree


@pytree
class Pairing:
    """The true target of each slot of the found ones.

    Attributes:
      partner: `[..., K]`, its slot; −1 for padding and for what is left over.
      distance: `[..., K]`, to it in pixels; infinite where there is none.
    """

    partner: Int[Array, "*batch K"]
    distance: Float[Array, "*batch K"]

    @property
    def paired(self) -> Bool[Array, "*batch K"]:
        """Which slots have a true target."""
        return self.partner >= 0


def assign(found: Targets, truth: Targets) -> Pairing:
    """The one-to-one pairing of found and true targets with the smallest sum of distances.

    As many pairs are made as the smaller of the two counts; what was found at no finite position
    is never paired.

    Args:
      found: targets `[..., K]`.
      truth: targets `[..., M]`.
    """
    distance = pair_distances(found, truth)
    real = found.mask[..., :, None] & truth.mask[..., None, :] & jnp.isfinite(distance)
    # A pair is worth more than any distances gained by leaving it, so that as many as possible are
    # made; not much more, or float32 would lose the distances beside it.
    padding = 1.0 + jnp.sum(jnp.where(real, distance, 0.0), axis=(-2, -1), keepdims=True)
    worth = jnp.where(real, padding - distance, 0.0)
    partner = jax.vmap(best_partners)(worth.reshape(-1, *worth.shape[-2:]))
    partner = partner.reshape(found.mask.shape)
    taken = jnp.take_along_axis(distance, jnp.maximum(partner, 0)[..., None], axis=-1)[..., 0]
    return Pairing(partner=partner, distance=jnp.where(partner >= 0, taken, jnp.inf))


@pytree
class LocalizationSums:
    """Sums for count accuracy and localisation error, merged by adding.

    Attributes:
      images: number of images.
      right_count: images with the right number of targets.
      targets: true targets.
      pairs: those of them that a found target is assigned to.
      within: `[R]`, those whose assigned target lies within each of `RADII`.
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
        """Sums over a batch of images `[..., K]` against `[..., M]`, or over its valid ones.

        `pairing` is what `assign` makes of them.
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
