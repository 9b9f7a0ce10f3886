"""Target counts and position errors under optimal assignment."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from distax.metrics.matching import pair_distances
from distax.pytree import pytree
from distax.targets import Targets


def assign(
    found: Targets, truth: Targets
) -> tuple[Float[Array, "*batch pairs"], Bool[Array, "*batch pairs"]]:
    """Distances of the one-to-one pairing of found and true targets with the smallest sum.

    Args:
      found: targets `[..., K]`.
      truth: targets `[..., M]`.

    Returns:
      Distances in pixels `[..., min(K, M)]`, and which of them are pairs of real targets: as many
      as the smaller of the two counts.
    """
    distance = pair_distances(found, truth)
    real = found.mask[..., :, None] & truth.mask[..., None, :]
    # A pair with padding costs more than all real pairs together, so that as many real pairs as
    # possible are made; not much more, or float32 would lose the distances beside it.
    padding = 1.0 + jnp.sum(jnp.where(real, distance, 0.0), axis=(-2, -1), keepdims=True)
    cost = jnp.where(real, distance, padding)

    def one(cost: Array, distance: Array, real: Array) -> tuple[Array, Array]:
        row, column = optax.assignment.hungarian_algorithm(cost)
        return distance[row, column], real[row, column]

    flat = [jnp.reshape(a, (-1, *a.shape[-2:])) for a in (cost, distance, real)]
    paired, valid = jax.vmap(one)(*flat)
    batch = distance.shape[:-2]
    return paired.reshape(*batch, -1), valid.reshape(*batch, -1)


@pytree
class LocalizationSums:
    """Sums for count accuracy and localisation error, merged by adding.

    Attributes:
      images: number of images.
      right_count: images with the right number of targets.
      pairs: assigned pairs.
      squared_error: sum of their squared distances in px².
    """

    images: Int[Array, ""]
    right_count: Int[Array, ""]
    pairs: Int[Array, ""]
    squared_error: Float[Array, ""]

    @classmethod
    def of(
        cls, found: Targets, truth: Targets, valid: Bool[Array, "*batch"] | None = None
    ) -> "LocalizationSums":
        """Sums over a batch of images `[..., K]` against `[..., M]`, or over its valid ones."""
        valid = jnp.ones(found.count.shape, bool) if valid is None else valid
        distance, paired = assign(found, truth)
        paired &= valid[..., None]
        return cls(
            images=jnp.sum(valid),
            right_count=jnp.sum((found.count == truth.count) & valid),
            pairs=jnp.sum(paired),
            squared_error=jnp.sum(jnp.where(paired, distance**2, 0.0)),
        )

    @property
    def count_accuracy(self) -> Float[Array, ""]:
        """Share of images with the right number of targets."""
        return self.right_count / self.images

    @property
    def rmse(self) -> Float[Array, ""]:
        """Root-mean-square distance in pixels between assigned pairs."""
        return jnp.sqrt(self.squared_error / self.pairs)
