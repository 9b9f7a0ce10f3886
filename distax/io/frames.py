"""Frames from FITS, PNG, TIFF and NPY files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distax.io.fits import open_fits
from distax.io.images import open_images
from distax.io.pixels import Frame

FITS_SUFFIXES = (".fits", ".fit", ".fts", ".fz")


@contextmanager
def open_frames(path: Path, extension: str | None = None) -> Iterator[list[Frame]]:
    """Opens a file and yields its frames; the file stays open within the block.

    Rows of FITS files and NPY arrays are read only when they are used. Each page of a TIFF and each
    image of an NPY stack is a frame.

    Args:
      path: a FITS file (also .gz and .fz), or a file that `open_images` reads.
      extension: name or number of the FITS extension; it has no effect on other formats. Default:
        the first with a two-dimensional image.

    Raises:
      DistaxError: the file or the extension does not exist, has another format or is damaged.
    """
    if path.name.lower().removesuffix(".gz").endswith(FITS_SUFFIXES):
        with open_fits(path, extension) as frame:
            yield [frame]
    else:
        yield [Frame(pixels=image) for image in open_images(path)]
