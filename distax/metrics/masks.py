"""Scores of masks, as the detection of small infrared targets reports them.

The overlap of masks is summed in pixels: IoU over all images together, and nIoU, the mean of each
image's IoU (Dai et al., WACV 2021, arXiv 2009.14530). Targets are compared by the centroids of
connected regions: Pd, the share of the true regions that are found, and Fa, the pixels of false
regions as a share of all pixels (Li et al., IEEE TIP 2023, arXiv 2106.00487).
"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from distax.metrics.exact_sum import ExactMean
from distax.runtime.errors import DistaxError, check_positive
from distax.runtime.pytree import pytree

REACH = 3.0
"""Distance in pixels below which a found centroid and a true one may be paired."""


@pytree
class MaskSums:
    """Sums for the overlap of masks, merged by adding.

    Attributes:
      intersection: number of pixels in both masks.
      union: number of pixels in either.
      each: sum of the IoU of each image. Images in which both masks are empty are left out.
    """

    intersection: Int[Array, ""]
    union: Int[Array, ""]
    each: ExactMean

    @classmethod
    def of(
        cls,
        mask: Bool[Array | np.ndarray, "*batch height width"],
        truth: Bool[Array | np.ndarray, "*batch height width"],
        valid: Bool[Array, "*batch"] | bool = True,
    ) -> "MaskSums":
        """Computes the sums over a batch of images.

        Args:
          mask: pixels of the targets found.
          truth: pixels of the true targets.
          valid: `[...]`, False for images to leave out.

        Raises:
          DistaxError: the masks differ in size, or are not of bool.
        """
        _check_masks(mask, truth)
        valid = jnp.broadcast_to(valid, mask.shape[:-2])
        intersection, union = (
            jnp.where(valid, jnp.sum(pixels, axis=(-2, -1)), 0)
            for pixels in (mask & truth, mask | truth)
        )
        return cls(
            intersection=jnp.sum(intersection),
            union=jnp.sum(union),
            each=ExactMean.of(intersection / jnp.maximum(union, 1), union > 0),
        )

    @property
    def iou(self) -> Float[Array, ""]:
        """Pixels in both masks as a share of those in either, over all images; NaN without any."""
        return self.intersection / self.union

    @property
    def niou(self) -> Float[Array, ""]:
        """Mean IoU of an image; NaN if all masks are empty."""
        return self.each.mean


@dataclass(frozen=True)
class RegionCounts:
    """Counts of connected regions of masks, merged by adding.

    Attributes:
      targets: number of true regions.
      detected: number of true regions that are paired with a found one.
      false_pixels: number of pixels of the found regions that are left over.
      pixels: number of pixels of all images.
    """

    targets: int = 0
    detected: int = 0
    false_pixels: int = 0
    pixels: int = 0

    @classmethod
    def of(
        cls,
        mask: Bool[Array | np.ndarray, "height width"],
        truth: Bool[Array | np.ndarray, "height width"],
        reach: float = REACH,
    ) -> "RegionCounts":
        """Counts the regions of one image.

        Pixels that touch at a side or a corner are one region. Regions are paired one to one, as
        many as possible, where their centroids are less than `reach` apart.

        Args:
          mask: pixels of the targets found.
          truth: pixels of the true targets.
          reach: distance in pixels.

        Raises:
          DistaxError: the masks differ in size, are not of bool, or are not those of one image;
            `reach` is not greater than 0.
        """
        _check_masks(mask, truth)
        if mask.ndim != 2 or not mask.size:
            raise DistaxError(
                f"regions are counted in one image, got masks of {mask.shape}; add up the counts "
                "of several images"
            )
        (centre, area), (true, _) = _regions(mask), _regions(truth)
        partner = pair_near(centre, true, reach)
        return cls(
            targets=len(true),
            detected=int(np.sum(partner >= 0)),
            false_pixels=int(area[partner < 0].sum()),
            pixels=int(np.size(truth)),
        )

    def __add__(self, other: "RegionCounts") -> "RegionCounts":
        return RegionCounts(
            targets=self.targets + other.targets,
            detected=self.detected + other.detected,
            false_pixels=self.false_pixels + other.false_pixels,
            pixels=self.pixels + other.pixels,
        )

    @property
    def pd(self) -> float | None:
        """Share of the true regions that are found; None without true regions."""
        return self.detected / self.targets if self.targets else None

    @property
    def fa(self) -> float | None:
        """Pixels of false regions as a share of all pixels; None without pixels."""
        return self.false_pixels / self.pixels if self.pixels else None


def _check_masks(mask: Array | np.ndarray, truth: Array | np.ndarray) -> None:
    """Raises DistaxError if two masks differ in size or are not of bool."""
    if mask.shape != truth.shape:
        raise DistaxError(
            f"masks of {mask.shape} and {truth.shape} pixels cannot be compared; give both for "
            "the same image"
        )
    # Grey values such as 1 and 255 would be combined bit by bit, and weigh a region's centroid.
    if not mask.dtype == truth.dtype == bool:
        raise DistaxError(
            f"masks must be of bool, got {mask.dtype} and {truth.dtype}; compare them with 0 or a "
            "threshold"
        )


def pair_near(
    found: Float[np.ndarray, "K 2"], true: Float[np.ndarray, "M 2"], reach: float = REACH
) -> Int[np.ndarray, " K"]:
    """Pairs as many points as possible one to one that are less than `reach` apart.

    Args:
      found: row and column of the points found, in pixels. Those that are not finite are left over.
      true: those of the true points.
      reach: distance in pixels.

    Returns:
      `[K]`, index of each found point's true point; −1 for found points that are left over.

    Raises:
      DistaxError: `reach` is not greater than 0.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import maximum_bipartite_matching
    from scipy.spatial import cKDTree

    check_positive(reach=reach)
    known, real = (np.flatnonzero(np.isfinite(points).all(axis=-1)) for points in (found, true))
    if not len(known) or not len(real):
        return np.full(len(found), -1, np.int32)
    near = cKDTree(found[known]).sparse_distance_matrix(
        cKDTree(true[real]), reach, output_type="coo_matrix"
    )
    within = near.data < reach
    pairs = known[near.row[within]], real[near.col[within]]
    shape = len(found), len(true)
    links = coo_array((np.ones(within.sum(), bool), pairs), shape=shape).tocsr()
    return maximum_bipartite_matching(links, perm_type="column")


def _regions(mask: Bool[Array | np.ndarray, "height width"]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the centroids `[regions, 2]` in pixels and the areas of a mask's regions."""
    from scipy.ndimage import center_of_mass, label

    pixels = np.asarray(mask)
    labels, regions = label(pixels, np.ones((3, 3)))
    numbers = np.arange(1, regions + 1)
    centre = np.reshape(center_of_mass(pixels, labels, numbers), (regions, 2))
    return centre, np.bincount(labels.ravel(), minlength=regions + 1)[1:]
