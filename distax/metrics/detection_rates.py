"""Rates of detections and errors of those that are right, as super-resolution microscopy has them.

Found and true targets are paired one to one within a radius, by `matching.pair_within`. A pair is a
true positive, a found target without a partner a false positive, and a true target without one a
false negative.
"""

from typing import TypedDict

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from distax.imaging.targets import Targets, with_slots
from distax.metrics.exact_sum import ExactSum
from distax.metrics.matching import pair_distances
from distax.runtime.pytree import pytree

ALPHA = 1.0
"""Efficiency that a position error of one pixel costs. The challenge takes 1% per nm; with pixels
of 100 nm, as its microscopes have them, that is 100% per pixel."""


def efficiency(
    jaccard: Float[Array, "*shape"], rmse: Float[Array, "*shape"], alpha: float = ALPHA
) -> Float[Array, "*shape"]:
    """Computes the efficiency of localisation (Sage et al., Nat. Methods 16, 387, 2019).

    1 − √((1 − J)² + (α RMSE)²): 1 for the perfect answer, and negative for poor ones.

    Args:
      jaccard: Jaccard index J from 0 to 1.
      rmse: root-mean-square distance of pairs in pixels.
      alpha: efficiency that an error of one pixel costs.
    """
    return 1 - jnp.sqrt((1 - jaccard) ** 2 + (alpha * rmse) ** 2)


class RateResult(TypedDict):
    """Rates and errors of pairs within one matching radius, see `DetectionSums`.

    Found and true targets are paired one to one, as many as possible. None stands for what is not
    defined: the precision of nothing found, for example.

    Attributes:
      precision: share of the found targets that have a partner.
      recall: share of the true targets that have one: the detection rate.
      f1: harmonic mean of the two.
      jaccard: pairs as a share of pairs, false and missed targets together.
      rmse: root-mean-square distance of the pairs in pixels.
      efficiency: efficiency of localisation, see the function `efficiency`.
      false_rate: false targets in an image.
      intensity_bias: mean error of the pairs' intensity, relative to the true one.
      intensity_error: root-mean-square error of the pairs' intensity, likewise.
    """

    precision: float | None
    recall: float | None
    f1: float | None
    jaccard: float | None
    rmse: float | None
    efficiency: float | None
    false_rate: float
    intensity_bias: float | None
    intensity_error: float | None


@pytree
class DetectionSums:
    """Sums for rates of detections at R matching radii, merged by adding.

    Rates whose denominator is zero are NaN.

    Attributes:
      images: number of images.
      targets: number of true targets.
      found: number of found targets.
      hits: `[R]`, number of pairs.
      squared_distance: `[R]`, sum of their squared distances in px².
      flux_error: `[R]`, sum of their errors of the intensity, relative to the true intensity.
      squared_flux_error: `[R]`, sum of the squares of these errors.
    """

    images: Int[Array, ""]
    targets: Int[Array, ""]
    found: Int[Array, ""]
    hits: Int[Array, " R"]
    squared_distance: ExactSum
    flux_error: ExactSum
    squared_flux_error: ExactSum

    @classmethod
    def of(
        cls,
        found: Targets,
        truth: Targets,
        partner: Int[Array, "*batch K R"],
        valid: Bool[Array, "*batch"] | bool = True,
    ) -> "DetectionSums":
        """Computes the sums over a batch of images.

        Args:
          found: found targets `[..., K]`.
          truth: true targets `[..., M]` of the same images.
          partner: their pairs, by `pair_within`.
          valid: `[...]`, False for images to leave out.
        """
        truth = with_slots(truth)
        valid = jnp.broadcast_to(valid, found.count.shape)
        paired = (partner >= 0) & valid[..., None, None]
        slot = jnp.maximum(partner, 0)
        distance = jnp.take_along_axis(pair_distances(found, truth), slot, axis=-1)
        true = jnp.take_along_axis(jnp.asarray(truth.intensity)[..., None], slot, axis=-2)
        error = jnp.asarray(found.intensity)[..., None] / jnp.where(paired, true, 1.0) - 1
        axes = tuple(range(paired.ndim - 1))
        return cls(
            images=jnp.sum(valid),
            targets=jnp.sum(jnp.where(valid, truth.count, 0)),
            found=jnp.sum(jnp.where(valid, found.count, 0)),
            hits=jnp.sum(paired, axis=axes),
            squared_distance=ExactSum.of(distance**2, paired, axes),
            flux_error=ExactSum.of(error, paired, axes),
            squared_flux_error=ExactSum.of(error**2, paired, axes),
        )

    @property
    def precision(self) -> Float[Array, " R"]:
        """Share of the found targets that are right."""
        return self.hits / self.found

    @property
    def recall(self) -> Float[Array, " R"]:
        """Share of the true targets that are found: the detection rate."""
        return self.hits / self.targets

    @property
    def f1(self) -> Float[Array, " R"]:
        """Harmonic mean of precision and recall."""
        return 2 * self.hits / (self.found + self.targets)

    @property
    def jaccard(self) -> Float[Array, " R"]:
        """True positives as a share of true and false positives and false negatives."""
        return self.hits / (self.found + self.targets - self.hits)

    @property
    def rmse(self) -> Float[Array, " R"]:
        """Root-mean-square distance of the pairs in pixels."""
        return jnp.sqrt(self.squared_distance.total / self.hits)

    @property
    def false_rate(self) -> Float[Array, " R"]:
        """Mean number of false positives in an image."""
        return (self.found - self.hits) / self.images

    @property
    def intensity_bias(self) -> Float[Array, " R"]:
        """Mean error of the pairs' intensity, relative to the true one."""
        return self.flux_error.total / self.hits

    @property
    def intensity_error(self) -> Float[Array, " R"]:
        """Root-mean-square error of the pairs' intensity, relative to the true one."""
        return jnp.sqrt(self.squared_flux_error.total / self.hits)

    def efficiency(self, alpha: float = ALPHA) -> Float[Array, " R"]:
        """Computes the efficiency of localisation, see `efficiency`."""
        return efficiency(self.jaccard, self.rmse, alpha)

    def scores(self) -> dict[str, Float[Array, " R"]]:
        """Computes all rates and errors by name."""
        return {
            "precision": self.precision,
            "recall": self.recall,
            "f1": self.f1,
            "jaccard": self.jaccard,
            "rmse": self.rmse,
            "efficiency": self.efficiency(),
            "false_rate": self.false_rate,
            "intensity_bias": self.intensity_bias,
            "intensity_error": self.intensity_error,
        }
