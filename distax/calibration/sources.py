"""Isolated sources in images of one source each and in whole frames alike."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from distax.runtime.errors import DistaxError

FEWEST = 5
"""Isolated sources without which there is no calibration."""
_SOURCE, _NEIGHBOUR = 8.0, 5.0
"""Standard deviations of the noise by which the sum of 3×3 pixels has to stand out: for a source,
and for what may be one and disturbs others."""
_ALIKE = 2
"""Pixels within which two maxima are one."""


@dataclass(frozen=True)
class Sources:
    """Windows around isolated sources.

    Attributes:
      crops: counts; NaN where a window reaches beyond the image.
      crowded: how many more were found that have a neighbour.
    """

    crops: Float[np.ndarray, "N side side"]
    crowded: int


def isolated_sources(
    images: Float[np.ndarray, "N height width"], noise: float, apart: int, side: int
) -> Sources:
    """Sources without another within `apart` pixels along either axis.

    Args:
      images: raw counts; NaN where a pixel is not known.
      noise: standard deviation of the background in counts.
      apart: distance in pixels.
      side: of the windows cut around them, odd.

    Raises:
      DistaxError: there are none.
    """
    crops, found = [], 0
    margin = side // 2
    for image in images:
        bright, excess = _maxima(image, noise)
        found += int(np.sum(excess >= _SOURCE))
        padded = np.pad(image, margin, constant_values=np.nan)
        for row, column in bright[_alone(bright, apart) & (excess >= _SOURCE)]:
            crops.append(padded[row : row + side, column : column + side])
    if not crops:
        raise DistaxError(
            f"no isolated source stands out of the noise ({found} with neighbours); give images "
            f"with sources at least {apart + 1} pixels apart"
        )
    return Sources(crops=np.stack(crops), crowded=found - len(crops))


def _maxima(
    image: Float[np.ndarray, "height width"], noise: float
) -> tuple[Int[np.ndarray, "M 2"], Float[np.ndarray, " M"]]:
    """Pixels around which most light is, and how many standard deviations of noise it makes."""
    level = np.nanmedian(image)
    light = np.where(np.isnan(image), 0.0, image - level)
    boxes = _windows(np.pad(light, 1), 3).sum(axis=(-2, -1)) / (3 * noise)
    around = _windows(np.pad(boxes, 2, constant_values=-np.inf), 5).max(axis=(-2, -1))
    places = np.argwhere((boxes >= around) & (boxes >= _NEIGHBOUR))
    excess = boxes[tuple(places.T)]
    order = np.argsort(-excess, kind="stable")
    places, excess = places[order], excess[order]
    # Clipped pixels make plateaus: the first of equal maxima stands for all.
    first = np.ones(len(places), bool)
    first[_pairs(places, _ALIKE).max(axis=1)] = False
    return places[first], excess[first]


def _windows(pixels: np.ndarray, side: int) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(pixels, (side, side))


def _alone(places: Int[np.ndarray, "M 2"], apart: int) -> Bool[np.ndarray, " M"]:
    alone = np.ones(len(places), bool)
    alone[_pairs(places, apart)] = False
    return alone


def _pairs(places: Int[np.ndarray, "M 2"], apart: int) -> Int[np.ndarray, "pairs 2"]:
    """Indices of places within a distance along both axes."""
    from scipy.spatial import cKDTree

    if not len(places):
        return np.empty((0, 2), int)
    return cKDTree(places).query_pairs(apart, p=np.inf, output_type="ndarray")
