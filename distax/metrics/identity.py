"""Scores of tracks: MOTA, IDF1 and HOTA, with points in place of boxes.

A track and a target are close in a frame if they are at most 0.25 px apart, the largest matching
radius. HOTA is a mean over thresholds of a similarity. The similarity falls linearly with distance:
from 1 at the same place, through 0.5 at 0.25 px, to 0 at 0.5 px.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from distax.imaging.targets import Targets, with_slots
from distax.metrics.cso import RADII
from distax.metrics.exact_sum import ExactSum
from distax.metrics.matching import (
    all_best_partners,
    best_partners,
    pair_benefit,
    pair_distances,
)
from distax.runtime.pytree import pytree

CLOSE = RADII[-1]
"""Largest distance in pixels of a track from the target that it is on."""
_THRESHOLDS = np.arange(1, 20) / 20
"""Thresholds of HOTA's similarity."""
_ROUNDING = 1e-6
"""Similarity by which rounding may miss a threshold."""


@pytree
class IdentitySums:
    """Sums over sequences for MOTA, IDF1 and HOTA, merged by adding.

    Without true targets and tracks MOTA, IDF1 and HOTA are NaN. With tracks alone MOTA is −∞.

    Attributes:
      true: number of true targets, counted in each frame.
      found: number of tracks, counted in each frame.
      hits: number of CLEAR MOT's pairs, counted in each frame.
      switches: number of CLEAR MOT's identity switches.
      identity_hits: number of IDF1's pairs, counted in each frame: a target and its one track for
        the whole sequence, where they are close.
      detections: `[A]`, number of HOTA's pairs at each threshold of the similarity.
      association: `[A]`, sum over these pairs of how well their target and track agree in all
        frames: a Jaccard index.
    """

    true: Int[Array, ""]
    found: Int[Array, ""]
    hits: Int[Array, ""]
    switches: Int[Array, ""]
    identity_hits: Int[Array, ""]
    detections: Int[Array, " A"]
    association: ExactSum

    @classmethod
    def of(cls, tracks: Targets, truth: Targets) -> "IdentitySums":
        """Computes the sums of one sequence.

        Args:
          tracks: tracks `[T, M]`; a slot is the same track in every frame.
          truth: true targets `[T, L]`; a slot is the same target in every frame.

        Raises:
          DistaxError: tracks and truth have different numbers of frames.
        """
        tracks, truth = with_slots(tracks), with_slots(truth)
        distance = pair_distances(truth, tracks)
        both = truth.mask[:, :, None] & tracks.mask[:, None]
        close = jnp.asarray(both & (distance <= CLOSE))
        hits, switches = _clear_mot(distance, close)
        together = jnp.sum(close, axis=0)
        alone = best_partners(together.astype(jnp.float32))
        own = jnp.take_along_axis(together, jnp.maximum(alone, 0)[:, None], axis=1)[:, 0]
        similarity = jnp.where(both, jnp.maximum(1 - distance / (2 * CLOSE), 0.0), 0.0)
        frames = jnp.sum(truth.mask, axis=0)[:, None] + jnp.sum(tracks.mask, axis=0)
        detections, association = _hota(similarity, frames)
        return cls(
            true=jnp.sum(truth.mask),
            found=jnp.sum(tracks.mask),
            hits=hits,
            switches=switches,
            identity_hits=jnp.sum(jnp.where(alone >= 0, own, 0)),
            detections=detections,
            association=association,
        )

    @property
    def mota(self) -> Float[Array, ""]:
        """MOTA (Bernardin & Stiefelhagen, EURASIP J. Image Video Process. 2008).

        1 minus misses, false positives and identity switches per true target; it can be negative.
        """
        wrong = self.true + self.found - 2 * self.hits + self.switches
        return 1 - wrong / self.true

    @property
    def idf1(self) -> Float[Array, ""]:
        """IDF1 (Ristani et al., ECCV Workshops 2016), with one track for each target."""
        return 2 * self.identity_hits / (self.true + self.found)

    @property
    def detection_accuracy(self) -> Float[Array, " A"]:
        """DetA of HOTA at each threshold: pairs / (pairs + misses + false positives)."""
        return self.detections / (self.true + self.found - self.detections)

    @property
    def association_accuracy(self) -> Float[Array, " A"]:
        """AssA of HOTA at each threshold; 0 without pairs."""
        return self.association.total / jnp.maximum(self.detections, 1)

    @property
    def hota(self) -> Float[Array, ""]:
        """HOTA (Luiten et al., IJCV 129, 2021), the mean over the thresholds."""
        return jnp.mean(jnp.sqrt(self.detection_accuracy * self.association_accuracy))


def _clear_mot(
    distance: Float[Array, "T L M"], close: Bool[Array, "T L M"]
) -> tuple[Int[Array, ""], Int[Array, ""]]:
    """Counts the pairs and the identity switches of CLEAR MOT.

    A target keeps its track while that is close. The others are paired as often as possible and,
    of all ways to do so, at the smallest sum of distances.
    """
    targets = distance.shape[1]

    def step(
        last: Int[Array, " L"], frame: tuple[Array, Array]
    ) -> tuple[Array, tuple[Array, Array]]:
        distance, close = frame
        kept = close & (last[:, None] == jnp.arange(close.shape[1]))
        # Keeping one pair outweighs any gain from changing all other pairs.
        now = best_partners(pair_benefit(distance, close) + kept * 2.0 * targets)
        switched = (now >= 0) & (last >= 0) & (now != last)
        return jnp.where(now >= 0, now, last), (jnp.sum(now >= 0), jnp.sum(switched))

    hits, switches = jax.lax.scan(step, jnp.full(targets, -1), (distance, close))[1]
    return jnp.sum(hits), jnp.sum(switches)


def _hota(
    similarity: Float[Array, "T L M"], frames: Int[Array, "L M"]
) -> tuple[Int[Array, " A"], ExactSum]:
    """Counts HOTA's pairs, and sums their agreement in all frames.

    Args:
      similarity: similarity of each target and track.
      frames: number of frames of the target plus that of the track.
    """
    rows, columns = (jnp.sum(similarity, axis=axis, keepdims=True) for axis in (2, 1))
    either = rows + columns - similarity
    share = jnp.where(similarity > 0, similarity / jnp.where(either > 0, either, 1.0), 0.0)
    likely = jnp.sum(share, axis=0)
    alignment = likely / jnp.maximum(frames - likely, 1.0)
    partner = all_best_partners(alignment * similarity)
    slot = jnp.maximum(partner, 0)[..., None]
    reached = jnp.take_along_axis(similarity, slot, axis=-1) >= _THRESHOLDS - _ROUNDING
    pair = (partner >= 0)[..., None] & reached
    taken = partner[..., None] == jnp.arange(similarity.shape[-1])
    together = jnp.sum(pair[..., None, :] & taken[..., None], axis=0)
    agreement = together**2 / jnp.maximum(frames[..., None] - together, 1)
    association = ExactSum.of(agreement, jnp.full(agreement.shape, True), (0, 1))
    return jnp.sum(pair, axis=(0, 1)), association
