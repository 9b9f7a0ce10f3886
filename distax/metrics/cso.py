"""CSO-mAP: mean average precision over sub-pixel matching radii (DISTA-Net, arXiv 2505.19148).

Two implementations share the matching and the area under the curve.
`cso_map` sorts all detections. It is exact, for sets that fit in memory. `CsoSums` counts
detections in fine bins of their score. Its memory is constant for any number of images, and its
sums add across batches and devices in any order with the same result. Two scores that share a bin
are treated as tied.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Num

from distax.imaging.targets import Targets
from distax.metrics.bootstrap import sum_by_part
from distax.metrics.matching import as_radii, match
from distax.runtime.pytree import pytree

RADII = (0.05, 0.10, 0.15, 0.20, 0.25)
"""Matching radii of the published protocol, in pixels."""

_MANTISSA_BITS = 13
"""Logarithm to base 2 of the number of score bins in an octave. 13 bits resolve scores that differ
by 1.2e-4 of their value. Another bit doubles the memory, one less ties more scores."""
_LOWEST_EXPONENT, _OCTAVES = -20, 32
"""The bins cover scores from 2**-20 to 2**12: probabilities as well as intensities in counts."""


_BIN_STEP = 64
"""Number of bins of which the bins that are not empty become a multiple."""


@pytree
class CsoMap:
    """The value of CSO-mAP, as fractions in 0..1.

    Attributes:
      ap: `[R]`, average precision at each radius.
    """

    ap: Float[Array, " R"]

    @property
    def mean(self) -> Float[Array, ""]:
        """Mean of the average precisions: CSO-mAP."""
        return jnp.mean(self.ap)


def cso_map(found: Targets, truth: Targets, radii: Sequence[float] = RADII) -> CsoMap:
    """Computes CSO-mAP over a whole set of images exactly, by sorting all detections.

    Args:
      found: detections `[..., K]` of any number of images.
      truth: true targets `[..., M]` of the same images.
      radii: matching radii in pixels.

    Returns:
      The average precision at each radius; 0 if there are no true targets.

    Raises:
      DistaxError: found and truth have different numbers of images; there are no radii, or one is
        not a finite number greater than 0.
    """
    return _cso_map(found, truth, as_radii(radii))


@partial(jax.jit, static_argnames="radii")
def _cso_map(found: Targets, truth: Targets, radii: tuple[float, ...]) -> CsoMap:
    hit = match(found, truth, jnp.asarray(radii))
    # Sorting takes most of the time. A slot's flags are packed into one integer, so that the sort
    # moves one array beside the scores, not one for each radius.
    flags = jnp.concatenate([found.mask[..., None], hit], axis=-1)
    bit = jnp.arange(flags.shape[-1])
    order, packed = jax.lax.sort(
        [
            jnp.where(found.mask, -found.score, jnp.inf).ravel(),
            jnp.sum(flags << bit, axis=-1).ravel(),
        ],
        num_keys=1,
    )
    detections, *hits = jnp.cumsum((packed >> bit[:, None]) & 1, axis=-1)
    last_of_ties = jnp.append(order[1:] != order[:-1], True)[: len(order)]
    return CsoMap(
        ap=jnp.stack(
            [average_precision(h, detections, jnp.sum(truth.mask), last_of_ties) for h in hits]
        )
    )


def average_precision(
    hits: Num[Array, " N"],
    detections: Num[Array, " N"],
    targets: Num[Array, ""],
    valid: Bool[Array, " N"],
) -> Float[Array, ""]:
    """Computes the area under the monotone envelope of the precision-recall curve.

    Args:
      hits: true positives among the detections down to each score, non-decreasing.
      detections: detections down to each score, non-decreasing.
      targets: number of true targets. It and the others are real numbers where images have weights.
      valid: False at points that no score threshold can reach, such as inside a group of equal
        scores.
    """
    recall = hits / jnp.maximum(targets, 1)
    precision = jnp.where(valid, hits / jnp.maximum(detections, 1), 0.0)
    envelope = jax.lax.cummax(precision, reverse=True)
    reached = jax.lax.cummin(jnp.where(valid, recall, jnp.inf), reverse=True)
    return jnp.sum(jnp.diff(reached, prepend=0.0) * envelope)


@pytree
class CsoSums:
    """Sums for CSO-mAP: a pytree of integers that is merged over batches or devices by adding.

    Scores have to be positive. Scores below 2**-20 share the lowest bin, scores above 2**12 the
    highest.

    Those of several parts of the images, by `by_part`, have a leading axis of parts.

    Attributes:
      detections: `[bins]`, number of detections in each bin of the score, lowest score first.
      hits: `[R, bins]`, number of true positives among them, for each radius.
      targets: number of true targets.
    """

    detections: Int[Array, "*parts bins"]
    hits: Int[Array, "*parts R bins"]
    targets: Int[Array, "*parts"]

    @classmethod
    def of(
        cls,
        found: Targets,
        truth: Targets,
        radii: Sequence[float] = RADII,
        valid: Bool[Array, "*batch"] | bool = True,
    ) -> "CsoSums":
        """Computes the sums over a batch of images.

        Args:
          found: detections `[..., K]`.
          truth: true targets `[..., M]` of the same images.
          radii: matching radii in pixels.
          valid: `[...]`, False for images to leave out.

        Raises:
          DistaxError: found and truth have different numbers of images; radii are not numbers
            greater than 0.
        """
        part = jnp.where(jnp.broadcast_to(valid, found.count.shape), 0, -1)
        return jax.tree.map(lambda leaf: leaf[0], cls.by_part(found, truth, part, 1, radii))

    @classmethod
    def by_part(
        cls,
        found: Targets,
        truth: Targets,
        part: Int[Array, "*batch"],
        parts: int,
        radii: Sequence[float] = RADII,
        mantissa_bits: int = _MANTISSA_BITS,
    ) -> "CsoSums":
        """Computes the sums over several parts of a batch of images.

        Args:
          found: detections `[..., K]`.
          truth: true targets `[..., M]` of the same images.
          part: `[...]`, number of each image's part; −1 for images to leave out.
          parts: number of parts.
          radii: matching radii in pixels.
          mantissa_bits: logarithm to base 2 of the number of score bins in an octave.

        Returns:
          The sums, with a leading axis of parts.

        Raises:
          DistaxError: found and truth have different numbers of images; radii are not numbers
            greater than 0.
        """
        hit = match(found, truth, jnp.asarray(as_radii(radii)))
        flags = jnp.concatenate([found.mask[..., None], hit], axis=-1)
        # One flat array of counts. A TPU pads the last two axes of an array up to 8 × 128, and with
        # a short last axis the counts would take twenty times the memory.
        kinds, bins = flags.shape[-1], _OCTAVES << mantissa_bits
        inside = (part >= 0)[..., None]
        kind = jnp.where(inside, part[..., None] * kinds, parts * kinds)[..., None]
        places = _score_bin(jnp.asarray(found.score), mantissa_bits)[..., None]
        places += bins * (kind + jnp.arange(kinds))
        counts = jnp.zeros(parts * kinds * bins, jnp.int32)
        counts = counts.at[places.ravel()].add(flags.ravel().astype(jnp.int32), mode="drop")
        sums = counts.reshape(parts, kinds, bins)
        targets = sum_by_part(truth.count.ravel(), part.ravel(), parts)
        return cls(detections=sums[:, 0], hits=sums[:, 1:], targets=targets)

    def without_empty_bins(self) -> "CsoSums":
        """Leaves out the bins in which no part has detections, which changes no value.

        Empty bins of the highest scores fill the rest up to a multiple of 64, so that few programs
        are compiled.
        """
        detections, hits = (np.asarray(leaf) for leaf in (self.detections, self.hits))
        used = np.flatnonzero(detections.any(axis=tuple(range(detections.ndim - 1))))
        empty = -len(used) % _BIN_STEP if len(used) else _BIN_STEP
        detections, hits = (
            np.pad(leaf[..., used], [*[(0, 0)] * (leaf.ndim - 1), (0, empty)])
            for leaf in (detections, hits)
        )
        return replace(self, detections=jnp.asarray(detections), hits=jnp.asarray(hits))

    @jax.jit
    def value(self) -> CsoMap:
        """Computes CSO-mAP from the sums of one part."""
        detections = jnp.cumsum(self.detections[::-1])
        hits = jnp.cumsum(self.hits[:, ::-1], axis=-1)
        valid = jnp.ones(detections.shape, bool)
        return CsoMap(
            ap=jax.vmap(lambda h: average_precision(h, detections, self.targets, valid))(hits)
        )


def _score_bin(score: Float[Array, "*shape"], mantissa_bits: int) -> Int[Array, "*shape"]:
    """Returns the bin of each score: exponent and leading mantissa bits of its float32 pattern.

    The bit patterns of positive floats are in the order of their values. A shift of the pattern
    therefore gives bins of nearly equal relative width, without a logarithm.
    """
    bits = jax.lax.bitcast_convert_type(jnp.maximum(score, 0.0).astype(jnp.float32), jnp.int32)
    lowest = (127 + _LOWEST_EXPONENT) << mantissa_bits
    bins = _OCTAVES << mantissa_bits
    return jnp.clip((bits >> (23 - mantissa_bits)) - lowest, 0, bins - 1)
