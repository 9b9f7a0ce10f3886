"""The pixels of a frame that its pictures need: an overview, and close-ups of its blobs."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from distax.frames import FrameTargets
from distax.frames.bands import Band, bands, read_rows
from distax.io.pixels import Pixels
from distax.viz.ranking import interesting_blobs

ZOOMS = 3
"""Close-ups of blobs beside each frame of a figure."""
_MAX_EDGE = 1000
"""Longest edge of an overview in pixels. More pixels need more memory and exceed the resolution of
figures and screens."""
_ROWS = 64
"""Approximate number of rows that are read at a time. More take more memory."""
_LEAST_REACH, _MOST_REACH = 5, 20
"""Smallest and largest number of pixels from a blob to the edge of its close-up. A larger one shows
more neighbours in less detail."""
_REACH = 3.0
"""Distance from the outer targets of most blobs to a close-up's edge, in widths σ of the PSF."""
_MOST_INSIDE = 0.9
"""Share of the targets that the close-ups of their blobs should contain."""
_MAX_AREA = 700_000
"""Pixels in all close-ups of a frame together: 5,785 close-ups of 11×11 pixels. More make a report
too large to open quickly."""


@dataclass(frozen=True)
class CloseUps:
    """Square cut-outs of a frame around its blobs, the most interesting blobs first.

    Pixels beyond the frame are NaN, as bad pixels are.

    Attributes:
      blob: `[B]`, number of each cut-out's blob.
      corner: `[B, 2]`, row and column of the first pixel; negative beyond the frame's edge.
      data: `[B, side, side]`, the frame's counts.
      residual: `[B, side, side]`, counts without background, local level and targets.
      noise: `[B]`, standard deviation of the background's noise in counts.
    """

    blob: Int[np.ndarray, " B"]
    corner: Int[np.ndarray, "B 2"]
    data: Float[np.ndarray, "B side side"]
    residual: Float[np.ndarray, "B side side"]
    noise: Float[np.ndarray, " B"]

    @property
    def model(self) -> Float[np.ndarray, "B side side"]:
        """Counts of the background and the targets."""
        return self.data - self.residual

    @property
    def deviation(self) -> Float[np.ndarray, "B side side"]:
        """The residual in standard deviations of the background's noise."""
        return self.residual / np.maximum(self.noise, 1e-6)[:, None, None]

    def extent(self, index: int) -> tuple[float, float, float, float]:
        """Returns the left, right, bottom and top edge of a close-up in pixels, for matplotlib."""
        row, column = self.corner[index].tolist()
        side = self.data.shape[-1]
        return column - 0.5, column + side - 0.5, row + side - 0.5, row - 0.5


@dataclass(frozen=True)
class FramePicture:
    """The pixels of a frame that its pictures need, so that the file may be closed.

    Attributes:
      name: the frame's title.
      pixels: counts above the background, the largest in each square of `step` by `step` pixels,
        so that no target is lost.
      step: frame pixels per pixel of the overview, along each axis.
      closeups: the frame around its most interesting blobs.
      found: the frame's targets, blobs and background.
    """

    name: str
    pixels: Float[np.ndarray, "rows columns"]
    step: int
    closeups: CloseUps
    found: FrameTargets

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top edge of the overview in frame pixels, for matplotlib."""
        rows, columns = (self.step * size for size in self.pixels.shape)
        return -0.5, columns - 0.5, rows - 0.5, -0.5

    @property
    def limits(self) -> tuple[float, float]:
        """Counts above the background that are drawn black and white.

        They are percentiles, so that neither bad pixels nor bright targets hide the rest. The range
        is at least one standard deviation of the noise below and 20 above, so that the noise of an
        empty frame is dark.
        """
        known = self.pixels[np.isfinite(self.pixels)]
        low, high = np.percentile(known, (10, 99.9)) if known.size else (0.0, 0.0)
        return min(float(low), -self.noise), max(float(high), 20 * self.noise)

    @property
    def noise(self) -> float:
        """Median noise of the background in counts, as a divisor."""
        return max(float(np.median(self.found.background.noise)), 1e-6)


def make_frame_picture(
    name: str, pixels: Pixels, residual: Pixels, found: FrameTargets, closeups: int = ZOOMS
) -> FramePicture:
    """Reads from an open frame the pixels that its pictures show, some rows at a time.

    Args:
      name: the frame's title.
      pixels: the frame `[height, width]`.
      residual: the frame without background and targets, `[height, width]`.
      found: the frame's targets.
      closeups: largest number of close-ups. There are fewer if they hold too many pixels.
    """
    shape = found.background.shape
    step = math.ceil(max(shape) / _MAX_EDGE)
    side = 2 * _reach(found) + 1
    blob = interesting_blobs(found)[: min(closeups, _MAX_AREA // side**2)]
    centre = found.blobs.pixel[blob]
    corner = centre - side // 2
    data, left = np.full((2, len(blob), side, side), np.nan, np.float32)
    noise = np.zeros(len(blob))
    thinned = []
    for band in bands(shape, step * max(1, _ROWS // step), 0):
        rows = read_rows(pixels, band)
        thinned.append(_largest(rows - found.background.level_in(band), step))
        _copy(rows, band, corner, data)
        inside = (centre[:, 0] >= band.first) & (centre[:, 0] < band.last)
        row, column = (centre[inside] - np.array([band.first, 0])).T
        noise[inside] = found.background.noise_in(band)[row, column]
        if _overlaps(band, corner, side).any():
            _copy(np.asarray(residual[band.first : band.last]), band, corner, left)
    return FramePicture(
        name=name,
        pixels=np.concatenate(thinned).astype(np.float32),
        step=step,
        closeups=CloseUps(
            blob=blob,
            corner=corner,
            data=data,
            residual=left - found.local_level[blob][:, None, None].astype(np.float32),
            noise=noise,
        ),
        found=found,
    )


def _reach(found: FrameTargets) -> int:
    """Returns the pixels from a blob to the edge of its close-up, for all blobs of a frame."""
    sigma = float(np.max(found.psf.sigma)) if found.psf else 0.0
    away = np.abs(found.targets.position - found.blobs.pixel[found.blob]).max(axis=1, initial=0)
    spread = float(np.quantile(away, _MOST_INSIDE)) if len(away) else 0.0
    return min(max(math.ceil(spread + _REACH * sigma), _LEAST_REACH), _MOST_REACH)


def _largest(rows: Float[np.ndarray, "rows width"], step: int) -> np.ndarray:
    """Returns the largest count in each square of pixels; NaN where none is known."""
    height, width = (-(-size // step) * step for size in rows.shape)
    padding = [(0, height - rows.shape[0]), (0, width - rows.shape[1])]
    whole = np.pad(rows, padding, constant_values=np.nan)
    squares = whole.reshape(height // step, step, width // step, step)
    return np.fmax.reduce(np.fmax.reduce(squares, axis=3), axis=1)


def _overlaps(band: Band, corner: Int[np.ndarray, "B 2"], side: int) -> np.ndarray:
    """Returns True for each line of each close-up, `[B, side]`, that is in a band."""
    line = corner[:, :1] + np.arange(side)
    return (line >= band.first) & (line < band.last)


def _copy(
    rows: Float[np.ndarray, "rows width"],
    band: Band,
    corner: Int[np.ndarray, "B 2"],
    closeups: Float[np.ndarray, "B side side"],
) -> None:
    """Copies a band's pixels into the close-ups that overlap it."""
    side, width = closeups.shape[-1], rows.shape[1]
    index, line = np.nonzero(_overlaps(band, corner, side))
    row = corner[index, 0] + line - band.first
    column = corner[index, 1][:, None] + np.arange(side)
    inside = (column >= 0) & (column < width)
    closeups[index, line] = np.where(
        inside, rows[row[:, None], np.clip(column, 0, width - 1)], np.nan
    )
