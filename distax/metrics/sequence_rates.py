"""Detection rate and false rate of SeqCSIST's toolkit (arXiv 2507.09556)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from distax.imaging.targets import Targets, with_slots
from distax.metrics.cso import RADII
from distax.metrics.matching import as_radii, pair_distances
from distax.runtime.pytree import pytree


@pytree
class RateSums:
    """Sums for the two rates: a pytree of integers, merged over batches or devices by adding.

    Attributes:
      matches: `[R]`, matched true targets for each radius.
      targets: number of true targets.
      detections: number of detections.
    """

    matches: Int[Array, " R"]
    targets: Int[Array, ""]
    detections: Int[Array, ""]

    @classmethod
    def of(
        cls,
        found: Targets,
        truth: Targets,
        radii: Sequence[float] = RADII,
        valid: Bool[Array, "*batch"] | bool = True,
    ) -> "RateSums":
        """Computes the sums over a batch of frames.

        Args:
          found: detections `[..., K]`.
          truth: true targets `[..., M]` of the same frames.
          radii: matching radii in pixels.
          valid: `[...]`, False for frames to leave out.

        Raises:
          DistaxError: found and truth have different numbers of frames; radii are not numbers
            greater than 0.
        """
        valid = jnp.broadcast_to(valid, found.count.shape)[..., None]
        matched = scan_match(found, truth, jnp.asarray(as_radii(radii))) & valid[..., None]
        return cls(
            matches=jnp.sum(matched, axis=tuple(range(matched.ndim - 1))),
            targets=jnp.sum(truth.mask & valid),
            detections=jnp.sum(found.mask & valid),
        )

    @property
    def detection_rate(self) -> Float[Array, " R"]:
        """Matched share of the true targets for each radius; 0 if there are none."""
        return self.matches / jnp.maximum(self.targets, 1)

    @property
    def false_rate(self) -> Float[Array, " R"]:
        """Share of the detections without a match for each radius; 0 if there are none."""
        return (self.detections - self.matches) / jnp.maximum(self.detections, 1)


@jax.jit
def scan_match(
    found: Targets, truth: Targets, radii: Float[Array, " R"]
) -> Bool[Array, "*batch M R"]:
    """Finds the true targets that are matched, in the order in which the toolkit goes.

    True targets come in the order of their slots. Of the detections that are nearer than the radius
    and not taken yet, each true target takes the first in row-major order. That need be neither the
    nearest nor the brightest.

    Args:
      found: detections `[..., K]`.
      truth: true targets `[..., M]`.
      radii: matching radii in pixels.

    Returns:
      `[..., M, R]`, True for matched true targets; False for padding.

    Raises:
      DistaxError: found and truth have different numbers of frames.
    """
    targets, found, truth = truth.mask.shape[-1], with_slots(found), with_slots(truth)
    batch, slots, size = found.mask.shape[:-1], found.mask.shape[-1], truth.mask.shape[-1]
    distance = pair_distances(found, truth).reshape(-1, slots, size)
    row, column = (found.place[..., axis].reshape(-1, slots) for axis in (0, 1))
    # Padding of either kind is beyond every radius.
    pair = found.mask[..., :, None] & truth.mask[..., None, :]
    distance = jnp.where(pair.reshape(distance.shape), distance, jnp.inf)
    matched = jax.vmap(_match_frame, in_axes=(0, 0, 0, None))(distance, row, column, radii)
    return matched.reshape(*batch, size, len(radii))[..., :targets, :]


def _match_frame(
    distance: Float[Array, "K M"],
    row: Float[Array, " K"],
    column: Float[Array, " K"],
    radii: Float[Array, " R"],
) -> Bool[Array, "M R"]:
    """Finds the matched true targets of one frame; see `scan_match`."""
    near = distance[jnp.lexsort((column, row))][..., None] < radii

    def take(
        free: Bool[Array, "K R"], near: Bool[Array, "K R"]
    ) -> tuple[Bool[Array, "K R"], Bool[Array, " R"]]:
        candidates = free & near
        first = candidates & (jnp.cumsum(candidates, axis=0) == 1)
        return free & ~first, jnp.any(candidates, axis=0)

    free = jnp.ones((len(row), len(radii)), bool)
    return jax.lax.scan(take, free, jnp.moveaxis(near, 1, 0))[1]
