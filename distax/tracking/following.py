"""Tracks that follow true targets, and the sums that score them."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from distax.imaging.targets import Targets, with_slots
from distax.metrics import ExactSum, IdentitySums
from distax.metrics.identity import CLOSE
from distax.metrics.matching import best_partners, pair_benefit, pair_distances
from distax.runtime.pytree import pytree

_TRACKED_SHARE = 0.5
"""Least share of a target's frames in which the track that follows it exists."""


@pytree
class TrackSums:
    """Sums over sequences, merged by adding.

    Attributes:
      targets: number of true targets.
      tracks: number of tracks.
      followed: number of targets that a track follows.
      whole: number of those whose track exists in every frame that the target is in.
      squared_error: sum over the followed targets of the mean squared distance in px².
      identity: sums for MOTA, IDF1 and HOTA.
    """

    targets: Int[Array, ""]
    tracks: Int[Array, ""]
    followed: Int[Array, ""]
    whole: Int[Array, ""]
    squared_error: ExactSum
    identity: IdentitySums

    def scores(self) -> dict[str, Any]:
        """Computes the scores by their names in `TrackEvaluation`; NaN for those not defined."""
        return {
            "share_tracked": self.followed / self.targets,
            "share_whole": self.whole / self.targets,
            "rmse": jnp.sqrt(self.squared_error.total / self.followed),
            "false_tracks": 1 - self.followed / self.tracks,
            "identity_switches": self.identity.switches / self.targets,
            "mota": self.identity.mota,
            "idf1": self.identity.idf1,
            "hota": self.identity.hota,
            "detection_accuracy": jnp.mean(self.identity.detection_accuracy),
            "association_accuracy": jnp.mean(self.identity.association_accuracy),
        }


@jax.jit
def sum_tracks(
    tracks: Targets, truth: Targets
) -> tuple[TrackSums, Float[Array, "N L"], Bool[Array, "N L"]]:
    """Computes the sums of each sequence.

    Args:
      tracks: tracks `[N, T, M]`.
      truth: true targets `[N, T, L]`.

    Returns:
      The sums, with a leading axis of sequences; the root-mean-square distance in pixels of each
      target's track; and True for targets that a track follows.
    """

    def of_sequence(tracks: Targets, truth: Targets) -> tuple[TrackSums, Array, Array]:
        tracks, truth = with_slots(tracks), with_slots(truth)
        follows, error, whole = _assign(tracks, truth)
        paired = follows >= 0
        sums = TrackSums(
            targets=jnp.sum(jnp.any(truth.mask, axis=0)),
            tracks=jnp.sum(jnp.any(tracks.mask, axis=0)),
            followed=jnp.sum(paired),
            whole=jnp.sum(paired & whole),
            squared_error=ExactSum.of(error**2, where=paired),
            identity=IdentitySums.of(tracks, truth),
        )
        return sums, error, paired

    return jax.vmap(of_sequence)(tracks, truth)


def _assign(
    tracks: Targets, truth: Targets
) -> tuple[Int[Array, " L"], Float[Array, " L"], Bool[Array, " L"]]:
    """Assigns a track to each true target of a sequence.

    Returns:
      The track, −1 for none, its root-mean-square distance, and True if it exists in all frames of
      the target.
    """
    both = truth.mask[:, :, None] & tracks.mask[:, None]
    squared = jnp.where(both, pair_distances(truth, tracks) ** 2, 0.0)
    shared = jnp.sum(both, axis=0)
    error = jnp.sqrt(jnp.sum(squared, axis=0) / jnp.maximum(shared, 1))
    lasting = shared >= _TRACKED_SHARE * jnp.sum(truth.mask, axis=0)[:, None]
    near = lasting & (shared > 0) & (error <= CLOSE)
    follows = best_partners(pair_benefit(error, near))
    own, common = (
        jnp.take_along_axis(pairs, jnp.maximum(follows, 0)[:, None], axis=1)[:, 0]
        for pairs in (error, shared)
    )
    return follows, own, common == jnp.sum(truth.mask, axis=0)
