"""Maps of a frame's background and noise, from sigma-clipped statistics in boxes."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from distax.frames.bands import LARGEST, Band, bands, read_rows
from distax.io.pixels import Pixels
from distax.runtime.errors import DistaxError
from distax.runtime.optional import require

_CLIP = 3.0
"""Standard deviations beyond which a box's pixels are clipped. A smaller limit removes more of
the targets' light, but leaves fewer pixels."""
_CLIPPED_STD = 0.985
"""Standard deviation of Gaussian noise after repeated clipping, relative to that before. The limit
of each clipping is `_CLIP` times the remaining standard deviation. So the value is the solution s
of s = √(1 − 2tφ(t) / (2Φ(t) − 1)) with t = `_CLIP` s."""
_MIN_KNOWN_SHARE = 0.25
"""Share of a box's pixels that must be known; below it the nearest box is used instead. A smaller
share makes the statistics noisy, a larger one gives up too many boxes."""


class BackgroundError(DistaxError):
    """A frame in which no background can be measured: constant, saturated, or without pixels."""


@dataclass(frozen=True)
class Background:
    """Level and noise of a frame's background in boxes, interpolated between their centres.

    Attributes:
      level: `[R, C]`, background of each box in the frame's counts.
      noise: `[R, C]`, standard deviation of the background's pixels in counts.
      box: height and width of a box in pixels; the last box of a row or column may be smaller.
      shape: height and width of the frame in pixels.
    """

    level: Float[np.ndarray, "R C"]
    noise: Float[np.ndarray, "R C"]
    box: tuple[int, int]
    shape: tuple[int, int]

    def level_in(self, band: Band) -> Float[np.ndarray, "rows width"]:
        """Interpolates the level to the pixels of a band; linear between and beyond box centres.

        It is float64, as float32 rounds a large level by more than the noise above it.
        """
        return self._interpolate(_extrapolate(self.level), band)

    def noise_in(self, band: Band) -> Float[np.ndarray, "rows width"]:
        """Interpolates the noise to the pixels of a band; linear, constant beyond box centres."""
        return self._interpolate(np.pad(self.noise, 1, mode="edge"), band).astype(np.float32)

    def _interpolate(self, around: np.ndarray, band: Band) -> Float[np.ndarray, "rows width"]:
        height, width = self.box
        rows = _weights(np.arange(band.start, band.stop), height, len(around))
        columns = _weights(np.arange(self.shape[1]), width, around.shape[1])
        return rows @ around @ columns.T


def _extrapolate(boxes: Float[np.ndarray, "R C"]) -> Float[np.ndarray, "rows columns"]:
    """Adds one box on every side, which continues the gradient."""
    return np.pad(boxes, 1, mode="reflect", reflect_type="odd")


def _weights(pixel: np.ndarray, box: int, nodes: int) -> Float[np.ndarray, "pixels nodes"]:
    """Returns the weights of linear interpolation from box centres to pixels.

    The nodes are the centres of a row of boxes, with one more box at each end.
    """
    place = (pixel + 0.5) / box + 0.5
    distance = np.abs(place[:, None] - np.arange(nodes))
    return np.maximum(1.0 - distance, 0.0)


def measure_background(pixels: Pixels, box: int) -> Background:
    """Measures level and noise of the background in boxes, by sigma clipping.

    The level is the mean of a box's pixels after repeated clipping at three standard deviations.
    The noise is the standard deviation about the interpolated level, so that a gradient within a
    box does not add to it. It is corrected for the part of Gaussian noise that clipping removes.
    Boxes with too few known pixels take both values from the nearest box with enough. A median
    over 3×3 boxes removes boxes that are full of targets.

    Args:
      pixels: the frame; NaN and infinite pixels are left out.
      box: approximate side of a box in pixels.

    Raises:
      BackgroundError: every box has more than three quarters of its pixels NaN or infinite.
    """
    height, width = pixels.shape
    size = (equal_box(height, box), equal_box(width, box))
    nothing = np.zeros((-(-height // size[0]), -(-width // size[1])))
    flat = Background(level=nothing, noise=nothing, box=size, shape=(height, width))
    first, _ = _box_statistics(pixels, flat)
    level = _median_filter(_extrapolate(fill_unknown(first)))
    interpolated = Background(level=level, noise=nothing, box=size, shape=flat.shape)
    _, spread = _box_statistics(pixels, interpolated)
    noise = _median_filter(np.pad(fill_unknown(spread), 1, mode="edge")) / _CLIPPED_STD
    return Background(level=level, noise=noise, box=size, shape=flat.shape)


def equal_box(length: int, box: int) -> int:
    """Returns the side of the boxes, about `box`, that divide a length; the last may be smaller."""
    return math.ceil(length / max(1, round(length / box)))


def _box_statistics(
    pixels: Pixels, known: Background
) -> tuple[Float[np.ndarray, "R C"], Float[np.ndarray, "R C"]]:
    """Returns mean and standard deviation of each box after subtraction of a known level.

    They are NaN where too few pixels are known. The frame is read one row of boxes at a time.
    """
    require("astropy", "frames")
    require("photutils", "frames")
    from astropy.stats import SigmaClip
    from photutils.background import Background2D, MeanBackground

    means, spreads = [], []
    for band in bands(known.shape, known.box[0], 0):
        rows = read_rows(pixels, band) - known.level_in(band)
        unknown = np.isnan(rows)
        if unknown.all():
            means.append(np.full(known.level.shape[1], np.nan))
            spreads.append(means[-1])
            continue
        measured = Background2D(
            np.where(unknown, 0.0, rows),
            (len(rows), known.box[1]),
            mask=unknown,
            exclude_percentile=100.0,
            filter_size=1,
            sigma_clip=SigmaClip(_CLIP, maxiters=10),
            bkg_estimator=MeanBackground(sigma_clip=None),
        )
        few = measured.n_pixels_mesh[0] < _MIN_KNOWN_SHARE * len(rows) * known.box[1]
        means.append(np.where(few, np.nan, measured.background_mesh[0]))
        spreads.append(np.where(few, np.nan, measured.background_rms_mesh[0]))
    return np.stack(means), np.stack(spreads)


def fill_unknown(boxes: Float[np.ndarray, "R C"]) -> Float[np.ndarray, "R C"]:
    """Fills NaN boxes from the nearest known box."""
    from scipy.ndimage import distance_transform_edt

    unknown = np.isnan(boxes)
    if unknown.all():
        raise BackgroundError(
            "nowhere in the frame are enough pixels known to measure the background: they are NaN "
            f"or infinite, beyond ±{LARGEST:g}, or marked by a mask"
        )
    nearest = distance_transform_edt(unknown, return_distances=False, return_indices=True)
    return boxes[tuple(nearest)].astype(float)


def _median_filter(boxes: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, "R C"]:
    """Takes the median over 3×3 boxes, and drops the outermost boxes."""
    from scipy.ndimage import median_filter

    return median_filter(boxes, 3)[1:-1, 1:-1]
