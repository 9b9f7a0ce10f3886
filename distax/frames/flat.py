"""Flat areas of a frame: saturated sky, padding and masks, in which nothing tells of the noise.

An area counts as flat if it holds a square of equal pixels and its value is rare elsewhere. So a
dark frame that counts few photons, in which most pixels are zero, has no flat area.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from distax.frames.bands import LARGEST, Band, bands, known_values, read_rows, stored_rows
from distax.io.pixels import Pixels

_BLOCK = 16
"""Side in pixels of the square of equal pixels that a flat area holds. The core of a saturated star
is smaller. Smaller areas are left to the detection."""
_COMMON = 0.8
"""Share of the other pixels from which a value is common, and squares of it are chance."""
_OPENING, _GROWTH, _RIM = 8, 8, 2
"""Pixels of a flat area: those in a square of equal pixels of the first side, those of the same
value up to the second number of pixels from them, and a rim of the third, which the optics and
interpolation mix with the area."""
_MARGIN = _OPENING + _GROWTH + _RIM
_ROWS = 64
"""Rows that are read at a time, a multiple of the side of a square."""
_MOST_VALUES = 8
"""Largest number of values of flat areas; the most frequent are taken."""


@dataclass(frozen=True)
class Survey:
    """Facts about all pixels of a frame.

    Attributes:
      whole: True if all known pixels are whole numbers.
      constant: True if all known pixels are equal.
      highest: largest value of a known pixel.
      at_highest: number of pixels that have it.
      huge: number of finite pixels beyond `bands.LARGEST`, which count as bad.
      flat: values of the flat areas.
      share: share of the frame's pixels in flat areas.
      extent: first row, last row, first column and last column of the flat areas.
    """

    whole: bool
    constant: bool
    highest: float
    at_highest: int
    huge: int = 0
    flat: tuple[float, ...] = ()
    share: float = 0.0
    extent: tuple[int, int, int, int] = (0, 0, 0, 0)

    @property
    def line(self) -> str:
        """The flat areas in one line."""
        top, bottom, left, right = self.extent
        values = " and ".join(f"{value:g}" for value in self.flat)
        return (
            f"{100 * self.share:.0f}% of the frame is flat and was left out: it reads {values}, "
            f"within rows {top} to {bottom} and columns {left} to {right} with a rim of {_RIM} px, "
            "so that nothing tells targets from noise there"
        )

    @property
    def line_of_huge(self) -> str | None:
        """The number of huge pixels in one line; None if there are none."""
        if not self.huge:
            return None
        return (
            f"{self.huge} pixel{'s' * (self.huge != 1)} beyond ±{LARGEST:g} count as bad; if these "
            "are counts, divide the frame by a power of ten"
        )


@dataclass(frozen=True)
class WithoutFlat:
    """Pixels of a frame with NaN in its flat areas, read by rows like the frame.

    Attributes:
      stored: the frame's pixels.
      flat: values of the flat areas.
    """

    stored: Pixels
    flat: tuple[float, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Height and width in pixels."""
        return tuple(self.stored.shape)

    def __getitem__(self, rows: slice) -> Float[np.ndarray, "rows width"]:
        """Returns rows as floats, with NaN in flat areas."""
        first, last, _ = rows.indices(self.shape[0])
        start, stop = max(first - _MARGIN, 0), min(last + _MARGIN, self.shape[0])
        around = read_rows(self.stored, Band(first=first, last=last, start=start, stop=stop))
        own = slice(first - start, last - start)
        return np.where(_flat_pixels(around, self.flat), np.nan, around)[own]


def _flat_pixels(
    rows: Float[np.ndarray, "rows width"], flat: tuple[float, ...]
) -> Bool[np.ndarray, "rows width"]:
    from scipy.ndimage import binary_dilation, binary_opening

    everywhere = np.zeros(rows.shape, bool)
    for value in flat:
        equal = rows == value
        core = binary_opening(equal, np.ones((_OPENING, _OPENING)))
        everywhere |= binary_dilation(core, np.ones((3, 3)), iterations=_GROWTH, mask=equal)
    return binary_dilation(everywhere, np.ones((3, 3)), iterations=_RIM)


def survey(pixels: Pixels) -> Survey:
    """Reads a frame once and finds its flat areas; a second time if a square of it is flat.

    Args:
      pixels: the frame; NaN and infinite pixels are no part of a flat area.
    """
    whole, lowest, highest = True, np.inf, -np.inf
    at_highest, huge = 0, 0
    squares: list[float] = []
    for band in bands((pixels.shape[0], pixels.shape[1]), _ROWS, 0):
        stored = stored_rows(pixels, band)
        huge += int(np.sum(np.isfinite(stored) & (np.abs(stored) > LARGEST)))
        rows = known_values(stored)
        known = rows[np.isfinite(rows)]
        if known.size:
            whole = whole and bool(np.all(known == np.rint(known)))
            lowest, top = min(lowest, known.min()), known.max()
            number = int(np.sum(known == top)) + at_highest * (top == highest)
            highest, at_highest = max((highest, at_highest), (top, number))
        blocks = _blocks(rows)
        flat = np.all(blocks == blocks[..., :1], axis=-1)
        squares += blocks[flat][:, 0].tolist()
    plain = Survey(
        whole=whole,
        constant=bool(lowest >= highest),
        highest=float(highest),
        at_highest=int(at_highest),
        huge=huge,
    )
    if not squares or plain.constant:
        return plain
    values, times = np.unique(squares, return_counts=True)
    values = values[np.argsort(-times, kind="stable")][:_MOST_VALUES]
    rare = values[_share_elsewhere(pixels, values) < _COMMON]
    return _with_extent(plain, pixels, tuple(rare.tolist())) if len(rare) else plain


def _with_extent(plain: Survey, pixels: Pixels, flat: tuple[float, ...]) -> Survey:
    """Adds flat areas to a survey: their values, their share of the frame and their extent."""
    number, rows = 0, []
    columns = np.zeros(pixels.shape[1], bool)
    for first, some in _rows_of(pixels, _MARGIN):
        start = max(first - _MARGIN, 0)
        area = _flat_pixels(some, flat)[first - start :][:_ROWS]
        number += int(area.sum())
        columns |= area.any(axis=0)
        rows += [first + int(row) for row in np.flatnonzero(area.any(axis=1))]
    across = np.flatnonzero(columns).tolist()
    extent = rows[0], rows[-1], across[0], across[-1]
    share = number / (pixels.shape[0] * pixels.shape[1])
    return replace(plain, flat=flat, share=share, extent=extent)


def _rows_of(
    pixels: Pixels, margin: int = 0
) -> Iterator[tuple[int, Float[np.ndarray, "rows width"]]]:
    """Yields the frame by groups of rows and their margin, with the number of the first row."""
    height, width = pixels.shape
    for band in bands((height, width), _ROWS, margin):
        yield band.first, read_rows(pixels, band)


def _blocks(rows: Float[np.ndarray, "rows width"]) -> Float[np.ndarray, "R C pixels"]:
    """Divides rows into squares; what is left at the end is no square."""
    down, across = (length // _BLOCK for length in rows.shape)
    whole = rows[: down * _BLOCK, : across * _BLOCK]
    squares = whole.reshape(down, _BLOCK, across, _BLOCK).swapaxes(1, 2)
    return squares.reshape(down, across, _BLOCK**2)


def _share_elsewhere(pixels: Pixels, values: Float[np.ndarray, " V"]) -> Float[np.ndarray, " V"]:
    """Returns the share of each value among the pixels of squares that are not flat."""
    equal, number = np.zeros(len(values)), 0
    for _, rows in _rows_of(pixels):
        blocks = _blocks(rows)
        mixed = blocks[~np.all(blocks == blocks[..., :1], axis=-1)]
        equal += [np.sum(mixed == value) for value in values]
        number += mixed.size
    return equal / max(number, 1)
