"""Frames from FITS files: plain, compressed or scaled, with their masks and sky coordinates."""

import math
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from io import BufferedReader
from typing import Any

import numpy as np
from jaxtyping import Num

from distax.io.faults import translated
from distax.io.fits_sky import read_sky
from distax.io.fits_structure import Hdu, read_structure
from distax.io.fits_tiles import check_streams, check_tiles, decode_unsafe, is_unsafe
from distax.io.fits_values import Scaling
from distax.io.pixels import Frame, Frames
from distax.io.reading import NO_MASK, Reading
from distax.io.source import Source
from distax.runtime.errors import DistaxError, DistaxWarning
from distax.runtime.optional import require

_MASKS = ("DQ", "MASK", "BPM")
"""Names of extensions that mark bad pixels: data quality, mask, bad-pixel mask."""
_SATURATION = ("SATURATE", "SATLEVEL")
"""Keywords of the value at which pixels saturate."""
_SAMPLED_ROWS = 32
"""Rows from which the middle of the counts is taken, to compare the saturation with."""


def open_fits(source: Source, reading: Reading, stack: ExitStack) -> Frames:
    """Opens the image of one extension; its rows are read from the file when asked for.

    Each plane of a cube is a frame. Unless the settings name another mask, an extension DQ, MASK or
    BPM of the same version and size marks bad pixels.

    Args:
      source: a FITS file, plain or with tile compression.
      reading: settings of the reader.
      stack: closes what is opened.

    Raises:
      DistaxError: the extension does not exist, is damaged or has no image.
    """
    require("astropy", "FITS files")
    from astropy.io import fits

    structure = read_structure(source)
    hdu = _select(structure, source, reading.extension)
    mask = _find_mask(structure, hdu, source, reading)
    with translated(source.path, "FITS"):
        # Mapped memory would end the process if the file became shorter.
        opened = fits.open(source.file, memmap=False, do_not_scale_image_data=True)
        parts = stack.enter_context(opened)
    cube = _open_cube(parts, hdu, source, reading)
    marks = None if mask is None else _open_cube(parts, mask, source, reading)
    with translated(source.path, "FITS"):
        header, primary = parts[hdu.index].header, parts[0].header
    unit = str(_value("BUNIT", header, primary, source) or "").strip()
    sky, wcs = read_sky(header, hdu, source.path)
    saturation = _read_saturation(header, primary, cube, source)

    if mask is not None and reading.mask is None:
        warnings.warn(
            f"pixels that the extension {mask.name} marks are left out; --mask none reads them",
            DistaxWarning,
            stacklevel=2,
        )

    def open_plane(number: int) -> Frame:
        marked = None if marks is None else marks.plane(number if len(marks) > 1 else 0)
        return Frame(cube.plane(number), unit, sky, wcs, saturation, marked)

    return Frames(len(cube), open_plane, masked=mask is not None)


def _select(structure: Sequence[Hdu], source: Source, extension: str | None) -> Hdu:
    """Returns the extension of a name or number. Default: the first image; masks come last."""
    held = ", ".join(map(str, structure))
    if extension is None:
        images = sorted(filter(_has_pixels, structure), key=_is_named_mask)
        if images:
            return images[0]
        raise DistaxError(f"{source.path}: no two-dimensional image in it; it holds {held}")
    if (hdu := _find(structure, extension)) is None:
        raise DistaxError(f"{source.path}: no extension {extension!r}; it holds {held}")
    if not _has_pixels(hdu):
        raise DistaxError(
            f"{source.path}: extension {extension} is {hdu}, not a two-dimensional image or a "
            f"cube; the file holds {held}"
        )
    return hdu


def _is_named_mask(hdu: Hdu) -> bool:
    return hdu.name.upper() in _MASKS


def _find(structure: Sequence[Hdu], extension: str) -> Hdu | None:
    """Returns the extension of a name or number; None if no extension has it."""
    for hdu in structure:
        names = hdu.name.upper(), f"{hdu.name},{hdu.version}".upper()
        if extension == str(hdu.index) or extension.upper() in names:
            return hdu
    return None


def _has_pixels(hdu: Hdu) -> bool:
    return hdu.is_image and len(hdu.shape) >= 2 and math.prod(hdu.shape) > 0


def _find_mask(structure: Sequence[Hdu], hdu: Hdu, source: Source, reading: Reading) -> Hdu | None:
    """Returns the extension that marks the bad pixels of an image; None for none."""
    if reading.mask == NO_MASK:
        return None
    if reading.mask is not None:
        mask = _find(structure, reading.mask)
        if mask is not None and not (_has_pixels(mask) and _suits(mask, hdu)):
            raise DistaxError(
                f"{source.path}: extension {reading.mask} is {mask}, no mask for {hdu}; give one "
                "of the same size"
            )
        return mask
    for other in structure:
        if other.index == hdu.index or not _is_named_mask(other):
            continue
        if other.version == hdu.version and _has_pixels(other) and _suits(other, hdu):
            return other
    return None


def _suits(mask: Hdu, hdu: Hdu) -> bool:
    """Returns True if a mask has the size of an image, or of one plane of a cube."""
    planes = math.prod(mask.shape[:-2])
    return mask.shape[-2:] == hdu.shape[-2:] and planes in (1, math.prod(hdu.shape[:-2]))


@dataclass(frozen=True)
class _Cube:
    """The planes of an extension, numbered along all axes but the last two in the file's order."""

    hdu: Any
    about: Hdu
    file: BufferedReader
    scaling: Scaling

    def __len__(self) -> int:
        return math.prod(self.about.shape[:-2])

    def plane(self, number: int) -> "_Rows":
        return _Rows(self, tuple(map(int, np.unravel_index(number, self.about.shape[:-2]))))

    @cached_property
    def _decoded(self) -> Num[np.ndarray, "..."]:
        return decode_unsafe(self.file, self.about)

    def read(self, leading: tuple[int, ...], rows: slice) -> np.ndarray:
        with translated(self.about.where, "FITS"):
            pixels: Any = self._decoded if is_unsafe(self.about) else self.hdu.section
            return self.scaling(np.asarray(pixels[(*leading, rows)]))


@dataclass(frozen=True)
class _Rows:
    """Rows of one plane."""

    cube: _Cube
    leading: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, int]:
        height, width = self.cube.about.shape[-2:]
        return height, width

    def __getitem__(self, rows: slice) -> np.ndarray:
        return self.cube.read(self.leading, rows)


def _open_cube(parts: Any, about: Hdu, source: Source, reading: Reading) -> _Cube:
    """Opens an image, after the checks that astropy and its decoders omit."""
    with translated(about.where, "FITS"):
        if about.is_compressed:
            check_tiles(about, reading)
            check_streams(about, source.file, reading)
        hdu = parts[about.index]
        if tuple(hdu.shape) != about.shape:
            raise DistaxError(
                f"{about.where}: its header describes {about.shape} and {hdu.shape} pixels; the "
                "file is damaged"
            )
        return _Cube(hdu, about, source.file, Scaling.of(about))


def _value(
    keyword: str, header: Mapping[str, Any], primary: Mapping[str, Any], source: Source
) -> Any:
    """Returns a keyword's value in this header or else in the primary one; None if damaged."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return header.get(keyword, primary.get(keyword))
    except Exception:  # astropy parses a value when it is asked for
        message = f"{source.path}: its keyword {keyword} is damaged, and is left out"
        warnings.warn(message, DistaxWarning, stacklevel=2)
        return None


def _read_saturation(
    header: Mapping[str, Any], primary: Mapping[str, Any], cube: _Cube, source: Source
) -> float | None:
    """Returns the saturation that the header states; None, with a warning, if it is unusable."""
    for keyword in _SATURATION:
        value = _value(keyword, header, primary, source)
        if value is None:
            continue
        problem = None
        if isinstance(value, bool) or not isinstance(value, int | float):
            problem = "is no number"
        elif not math.isfinite(value) or value <= 0:
            problem = "is not positive"
        elif value <= (typical := _typical(cube)):
            problem = f"lies below most pixels, which have about {typical:g}"
        if problem is None:
            return float(value)
        warnings.warn(
            f"{source.path}: {keyword} = {value} {problem}, and is left out; give the saturation "
            "by --frame.saturation",
            DistaxWarning,
            stacklevel=2,
        )
    return None


def _typical(cube: _Cube) -> float:
    """Returns the median of some rows in the middle of the first plane; -inf if none is known."""
    rows = cube.plane(0)
    first = max(0, (rows.shape[0] - _SAMPLED_ROWS) // 2)
    values = rows[slice(first, first + _SAMPLED_ROWS)]
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else -math.inf
