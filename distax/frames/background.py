"""The background of a frame and its noise: maps from boxes, measured band by band."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from distax.frames.bands import Band, bands, read_rows
from distax.io.pixels import Pixels
from distax.runtime.errors import DistaxError

_CLIP = 3.0
"""Standard deviations beyond which a box's pixels are no background."""
_LEFT_BY_CLIPPING = 0.985
"""Standard deviation of Gaussian noise that is clipped at `_CLIP` of its own until nothing more
goes, in units of what it was: s = √(1 − 2tφ(t) / (2Φ(t) − 1)) with t = `_CLIP` s."""
_LEAST_SHARE = 0.25
"""Share of a box's pixels without which its neighbours speak for it."""


@dataclass(frozen=True)
class Background:
    """Level and noise of a frame's background in boxes, and between their centres.

    Attributes:
      level: `[R, C]`, of each box, in the frame's counts.
      noise: `[R, C]`, its standard deviation in counts.
      box: height and width of a box in pixels; those last in a row or column may be smaller.
      shape: height and width of the frame in pixels.
    """

    level: Float[np.ndarray, "R C"]
    noise: Float[np.ndarray, "R C"]
    box: tuple[int, int]
    shape: tuple[int, int]

    def level_in(self, band: Band) -> Float[np.ndarray, "rows width"]:
        """The level at every pixel of a band: linear between centres of boxes, and beyond them."""
        return self._between(_extended(self.level), band)

    def noise_in(self, band: Band) -> Float[np.ndarray, "rows width"]:
        """The noise at every pixel of a band: linear between centres of boxes, constant beyond."""
        return self._between(np.pad(self.noise, 1, mode="edge"), band)

    def _between(self, around: np.ndarray, band: Band) -> Float[np.ndarray, "rows width"]:
        height, width = self.box
        rows = _weights(np.arange(band.start, band.stop), height, len(around))
        columns = _weights(np.arange(self.shape[1]), width, around.shape[1])
        return (rows @ around @ columns.T).astype(np.float32)


def _extended(boxes: Float[np.ndarray, "R C"]) -> Float[np.ndarray, "rows columns"]:
    """With one more box on every side, so that a gradient goes on."""
    return np.pad(boxes, 1, mode="reflect", reflect_type="odd")


def _weights(pixel: np.ndarray, box: int, nodes: int) -> Float[np.ndarray, "pixels nodes"]:
    """How much each of a row of boxes, one more at each end, counts at some pixels."""
    place = (pixel + 0.5) / box + 0.5
    distance = np.abs(place[:, None] - np.arange(nodes))
    return np.maximum(1.0 - distance, 0.0)


def measure_background(pixels: Pixels, box: int) -> Background:
    """Level and noise in boxes of about `box` pixels a side, NaN and infinite pixels left out.

    Each box's values above and below three standard deviations are clipped away until none is
    left; their mean is the level. The noise is what clipping leaves of the standard deviation
    about the level between the boxes, made good for what it takes of Gaussian noise. Boxes with
    too few pixels take both from the nearest that has enough, and a median over 3×3 boxes keeps
    one that holds little but targets from counting.

    Raises:
      DistaxError: in every box three pixels in four are NaN or infinite.
    """
    height, width = pixels.shape
    size = (_fitting(height, box), _fitting(width, box))
    nothing = np.zeros((-(-height // size[0]), -(-width // size[1])))
    flat = Background(level=nothing, noise=nothing, box=size, shape=(height, width))
    first, _ = _boxes(pixels, flat)
    level = _smoothed(_extended(_filled(first)))
    _, spread = _boxes(pixels, Background(level=level, noise=nothing, box=size, shape=flat.shape))
    noise = _smoothed(np.pad(_filled(spread), 1, mode="edge")) / _LEFT_BY_CLIPPING
    return Background(level=level, noise=noise, box=size, shape=flat.shape)


def _fitting(length: int, box: int) -> int:
    """The box's side that divides a length into about equal parts."""
    return math.ceil(length / max(1, round(length / box)))


def _boxes(
    pixels: Pixels, known: Background
) -> tuple[Float[np.ndarray, "R C"], Float[np.ndarray, "R C"]]:
    """Mean and standard deviation in every box about a known level; NaN where pixels are few."""
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
        few = measured.n_pixels_mesh[0] < _LEAST_SHARE * len(rows) * known.box[1]
        means.append(np.where(few, np.nan, measured.background_mesh[0]))
        spreads.append(np.where(few, np.nan, measured.background_rms_mesh[0]))
    return np.stack(means), np.stack(spreads)


def _filled(boxes: Float[np.ndarray, "R C"]) -> Float[np.ndarray, "R C"]:
    """What is unknown taken from the nearest box."""
    from scipy.ndimage import distance_transform_edt

    unknown = np.isnan(boxes)
    if unknown.all():
        raise DistaxError(
            "nowhere in the frame are enough pixels known to measure the background: they are NaN "
            "or infinite"
        )
    nearest = distance_transform_edt(unknown, return_distances=False, return_indices=True)
    return boxes[tuple(nearest)].astype(float)


def _smoothed(boxes: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, "R C"]:
    """The median over 3×3 boxes, the outermost left out."""
    from scipy.ndimage import median_filter

    return median_filter(boxes, 3)[1:-1, 1:-1]
