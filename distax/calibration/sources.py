"""Search for isolated point sources, in images of one source each and in whole frames alike."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from distax.runtime.errors import DistaxError

MIN_SOURCES = 5
"""Fewest isolated sources for a calibration. With fewer, the median and the tests that reject
outliers mean little."""
_SOURCE_SNR = 8.0
"""Least signal-to-noise ratio, summed over 3×3 pixels, of a peak that is used as a source. A lower
ratio adds sources that constrain the PSF little and may be noise."""
_NEIGHBOUR_SNR = 5.0
"""The same ratio for a neighbour that disturbs a source. A lower ratio rejects good sources because
of noise peaks; a higher one keeps sources with faint neighbours."""
_SAME_PEAK = 2
"""If two maxima are no farther apart than this along both axes (pixels), they are one source."""


@dataclass(frozen=True)
class IsolatedSources:
    """Windows around isolated sources.

    Attributes:
      windows: counts; NaN where a window reaches beyond the image.
      pixel: row and column in its image of each window's central pixel.
      crowded: number of other sources, which are left out because they have a neighbour.
    """

    windows: Float[np.ndarray, "sources side side"]
    pixel: Int[np.ndarray, "sources 2"]
    crowded: int


def find_isolated_sources(
    images: Float[np.ndarray, "N height width"], noise: float, isolation: int, side: int
) -> IsolatedSources:
    """Finds sources without a neighbour, and cuts windows around them.

    Args:
      images: raw counts; NaN where a pixel is not known.
      noise: standard deviation of the background in counts.
      isolation: half-width in pixels of the square around a source that must hold no other source.
      side: height and width of the windows in pixels, odd.

    Raises:
      DistaxError: no isolated source is found.
    """
    windows, pixels, found = [], [], 0
    margin = side // 2
    for image in images:
        peaks, snr = _find_peaks(image, noise)
        found += int(np.sum(snr >= _SOURCE_SNR))
        padded = np.pad(image, margin, constant_values=np.nan)
        chosen = peaks[_has_no_neighbour(peaks, isolation) & (snr >= _SOURCE_SNR)]
        pixels.append(chosen)
        for row, column in chosen:
            windows.append(padded[row : row + side, column : column + side])
    if not windows:
        raise DistaxError(
            f"no isolated source stands out of the noise ({found} with neighbours); give images "
            f"with sources at least {isolation + 1} pixels apart"
        )
    return IsolatedSources(
        windows=np.stack(windows), pixel=np.concatenate(pixels), crowded=found - len(windows)
    )


def _find_peaks(
    image: Float[np.ndarray, "height width"], noise: float
) -> tuple[Int[np.ndarray, "M 2"], Float[np.ndarray, " M"]]:
    """Finds local maxima of the sum over 3×3 pixels.

    Returns:
      Row and column of each peak, and its signal-to-noise ratio, the highest first.
    """
    light = np.where(np.isnan(image), 0.0, image - np.nanmedian(image))
    # The sum of nine pixels has three times the noise of one.
    snr = _windows(np.pad(light, 1), 3).sum(axis=(-2, -1)) / (3 * noise)
    highest = _windows(np.pad(snr, 2, constant_values=-np.inf), 5).max(axis=(-2, -1))
    peaks = np.argwhere((snr >= highest) & (snr >= _NEIGHBOUR_SNR))
    peak_snr = snr[tuple(peaks.T)]
    order = np.argsort(-peak_snr, kind="stable")
    peaks, peak_snr = peaks[order], peak_snr[order]
    # Clipped pixels make plateaus of equal maxima; the first one represents them all.
    first = np.ones(len(peaks), bool)
    first[_close_pairs(peaks, _SAME_PEAK).max(axis=1)] = False
    return peaks[first], peak_snr[first]


def _windows(pixels: np.ndarray, side: int) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(pixels, (side, side))


def _has_no_neighbour(peaks: Int[np.ndarray, "M 2"], distance: int) -> Bool[np.ndarray, " M"]:
    alone = np.ones(len(peaks), bool)
    alone[_close_pairs(peaks, distance)] = False
    return alone


def _close_pairs(peaks: Int[np.ndarray, "M 2"], distance: int) -> Int[np.ndarray, "pairs 2"]:
    """Returns the indices of pairs of peaks within a distance along both axes."""
    from scipy.spatial import cKDTree

    if not len(peaks):
        return np.empty((0, 2), int)
    return cKDTree(peaks).query_pairs(distance, p=np.inf, output_type="ndarray")
