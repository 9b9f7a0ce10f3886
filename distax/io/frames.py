"""Frames from image files of every format that is read."""

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from glob import glob, has_magic
from pathlib import Path

from distax.io.arrays import open_npy, open_npz
from distax.io.fits import open_fits
from distax.io.pixels import Frame, Frames, Pixels, marked
from distax.io.rasters import open_raster
from distax.io.reading import NO_MASK, Reading
from distax.io.source import SUFFIXES, is_image_name, open_source
from distax.io.tiff import open_tiff
from distax.runtime.errors import DistaxError

_OPENERS = {
    "NPY": open_npy,
    "NPZ": open_npz,
    "TIFF": open_tiff,
    "PNG": open_raster,
    "BMP": open_raster,
    "JPEG": open_raster,
}
"""Functions that open the formats other than FITS."""
_ROWS = 64
"""Rows of a mask that are read at a time."""


@contextmanager
def open_frames(path: Path, reading: Reading = Reading()) -> Iterator[Frames]:
    """Opens a file and yields its frames; the file stays open within the block.

    The format is recognised by the file's first bytes. Every page of a TIFF, every plane of a FITS
    cube and every image of an array is a frame, which is read when it is accessed. Values and types
    are those of the file: bit depths are not rescaled, and no values are inverted. With a mask, the
    pixels are floats, and bad ones are NaN.

    Args:
      path: a FITS, PNG, TIFF, BMP, JPEG, NPY or NPZ file, also packed by gzip, bzip2 or xz.
      reading: settings of the reader.

    Raises:
      DistaxError: the file, the extension or the mask does not exist, has a format that is not
        read, is damaged, is a colour image without a chosen channel, or exceeds the size limit.
    """
    with ExitStack() as stack:
        source = stack.enter_context(open_source(path, reading))
        if source.kind == "FITS":
            frames = open_fits(source, reading, stack)
        else:
            frames = _OPENERS[source.kind](source, reading)
        if reading.mask not in (None, NO_MASK) and not frames.masked:
            frames = _with_mask(frames, path, reading, stack)
        yield frames


def _with_mask(frames: Frames, path: Path, reading: Reading, stack: ExitStack) -> Frames:
    """Marks the bad pixels of a mask file."""
    file = type(path)(reading.mask or "")
    if not file.is_file():
        raise DistaxError(
            f"{path}: the mask {reading.mask!r} is neither a file nor an extension of this one; "
            "name a file or an extension"
        )
    marks = stack.enter_context(open_frames(file, replace(reading, mask=NO_MASK, extension=None)))
    if len(marks) not in (1, len(frames)):
        raise DistaxError(
            f"{file}: holds {len(marks)} masks for the {len(frames)} images of {path}; give one "
            "for all, or one for each"
        )

    def open_masked(number: int) -> Frame:
        frame, mark = frames[number], marks[number if len(marks) > 1 else 0]
        if mark.shape != frame.shape:
            raise DistaxError(
                f"{file}: is a mask of {_size(mark)} px, but image {number} of {path} has "
                f"{_size(frame)}; give one of the same size"
            )
        # One of many masks that marks all is a gap of a sequence.
        if len(marks) == 1 and _marks_all(mark.stored):
            raise DistaxError(
                f"{file}: this mask marks all pixels of image {number} of {path} as bad; zeros are "
                "good pixels, so it may be inverted"
            )
        return replace(frame, mask=mark.stored)

    return Frames(len(frames), open_masked)


def _marks_all(mask: Pixels) -> bool:
    """Returns True if a mask marks all pixels; it is read up to the first good one."""
    height = mask.shape[0]
    return all(marked(mask[row : row + _ROWS]).all() for row in range(0, height, _ROWS))


def _size(frame: Frame) -> str:
    return f"{frame.shape[0]}×{frame.shape[1]}"


def find_files(paths: Sequence[Path]) -> list[Path]:
    """Lists image files: those that are named, those in folders, and those that patterns match.

    The files of a folder or a pattern are in natural order: frame2 precedes frame10. A folder's
    other files, hidden files and subfolders are left out. Links that lead to no file are kept, so
    that reading them tells of them.

    Raises:
      DistaxError: a folder holds no image file or cannot be read, no file matches a pattern, or a
        name is too long.
    """
    return list(dict.fromkeys(file for path in paths for file in _expand(path)))


def find_files_or_names(paths: Sequence[Path]) -> list[Path]:
    """Lists image files as `find_files` does, and keeps what it would refuse under its own name.

    So one bad entry can be reported beside the answers to the others.
    """
    found: dict[Path, None] = {}
    for path in paths:
        try:
            found |= dict.fromkeys(_expand(path))
        except DistaxError:
            found[path] = None
    return list(found)


def _expand(path: Path) -> list[Path]:
    try:
        return _files_of(path)
    except OSError as error:  # a name that is too long, or a folder that may not be read
        raise DistaxError(f"{path}: cannot be read ({error.strerror or error})") from error


def _files_of(path: Path) -> list[Path]:
    if path.is_dir():
        names = (file for file in path.iterdir() if not file.name.startswith("."))
        # A link that leads to no file is kept, so that reading names it.
        files = [
            file for file in names if is_image_name(file) and (file.is_file() or not file.exists())
        ]
        if not files:
            raise DistaxError(
                f"{path}: a folder without image files; known suffixes are {', '.join(SUFFIXES)}"
            )
    elif has_magic(str(path)) and not path.exists():
        files = [type(path)(name) for name in glob(str(path))]
        if not files:
            raise DistaxError(f"{path}: no file matches this pattern")
    else:
        return [path]
    return sorted(files, key=_natural)


def _natural(path: Path) -> list[tuple[str, int]]:
    """Returns a key that orders numbers in names by their value."""
    parts = re.findall(r"(\D*)(\d*)", str(path))
    return [(text, int(digits or -1)) for text, digits in parts]
