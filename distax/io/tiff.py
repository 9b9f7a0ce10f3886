"""Images in TIFF files: all pages, of any bit depth, with the values as stored."""

import math
import struct
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Num, Shaped

from distax.io.channels import look_up, one_channel
from distax.io.faults import logs_raised, translated
from distax.io.pixels import Decoded, Frame, Frames
from distax.io.reading import Reading
from distax.io.source import Source
from distax.io.stored import read_array
from distax.io.tiff_page import PALETTE, WHITE_IS_ZERO, check_page
from distax.runtime.errors import DistaxError, DistaxWarning
from distax.runtime.optional import require

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

_PHOTOMETRIC = 262
"""Tag of the photometric interpretation. Some writers omit it."""
_SUBFILE_TYPE = 254
_SMALLER_COPY, _TRANSPARENCY = 1, 4
"""Bits of the subfile type, for pages that are no frames."""
_ALPHA = (1, 2)
"""Kinds of an extra sample that are alpha, with and without premultiplied colours."""
_MOST_TAGS = 4096


class _Layout(NamedTuple):
    """Formats of the numbers in a TIFF file, for `struct`.

    Attributes:
      first: offset of the first page, behind byte order and version.
      number: number of a page's tags.
      entry: a tag: its code, type, number of values, and the value or its offset.
      offset: offset of the next page.
    """

    first: str
    number: str
    entry: str
    offset: str


_LAYOUTS = {42: _Layout("I", "H", "HHI4s", "I"), 43: _Layout("4xQ", "Q", "HHQ8s", "Q")}
"""Layouts of TIFF and BigTIFF by the number in the header."""


def open_tiff(source: Source, reading: Reading) -> "Frames":
    """Opens the pages of a TIFF file; each is decoded when its pixels are read.

    Smaller copies of a page and transparency masks are no frames. Stacks that ImageJ or tifffile
    describe by one page are read as well. The file must stay open.

    Raises:
      DistaxError: the file is damaged, or its first page cannot be read.
    """
    require("tifffile", "TIFF files")
    require("imagecodecs", "TIFF files")
    from tifffile import TiffFile

    with translated(source.path, "TIFF"), logs_raised("tifffile"):
        numbers = _find_pages(source)
        tiff = _Tiff(source, TiffFile(source.file, name=source.path.name), numbers, reading)
        first = tiff.page(0)
        hidden = tiff.planes_of_page() if len(numbers) == 1 else 1
    if _is_white_zero(first):
        warnings.warn(
            f"{source.path}: its values are read as stored, but the file says that zero is white; "
            "if targets are dark, invert the images",
            DistaxWarning,
            stacklevel=2,
        )
    if hidden > 1:
        return Frames(hidden, tiff.open_plane)
    return Frames(len(numbers), tiff.open_page)


def _is_white_zero(page: Any) -> bool:
    return page.photometric == WHITE_IS_ZERO and _PHOTOMETRIC in page.tags


@dataclass(frozen=True)
class _Tiff:
    """A TIFF file whose chain of pages is sound.

    Attributes:
      source: the open file.
      file: the same file, read by tifffile.
      numbers: numbers of the pages that are frames.
      reading: settings of the reader.
    """

    source: Source
    file: "TiffFile"
    numbers: list[int]
    reading: Reading

    def page(self, number: int) -> "TiffPage":
        """Returns the page of a frame, checked before memory is allocated for it.

        Raises:
          DistaxError: the page cannot be read, or has another type than the first.
        """
        from tifffile import TiffPage

        page = self.file.pages[self.numbers[number]]
        assert isinstance(page, TiffPage)
        check_page(page, self.source, self._where(number), self.reading)
        if number:
            first = self.page(0)
            if (page.dtype, page.bitspersample) != (first.dtype, first.bitspersample):
                raise DistaxError(
                    f"{self._where(number)}: has {page.bitspersample}-bit {page.dtype}, the first "
                    f"page {first.bitspersample}-bit {first.dtype}; save pages of one type to a "
                    "file"
                )
        return page

    def _where(self, number: int) -> str:
        return f"{self.source.path}: page {self.numbers[number]}"

    def open_page(self, number: int) -> Frame:
        """Opens the frame of a page; its pixels are decoded when they are read."""
        where = self._where(number)
        with translated(where, "TIFF"), logs_raised("tifffile"):
            page = self.page(number)
            white = _is_white_zero(page)
        if number and white != _is_white_zero(self.file.pages[self.numbers[0]]):
            warnings.warn(
                f"{where}: its values are read as stored, but the file says that zero is "
                f"{'white' if white else 'black'} in this page, unlike in the first; invert one "
                "of them",
                DistaxWarning,
                stacklevel=2,
            )

        def decode() -> Num[np.ndarray, "height width"]:
            with translated(where, "TIFF"), logs_raised("tifffile"):
                values = page.asarray(squeeze=False, maxworkers=1)
                return _gray(values, page, where, self.reading)

        return Frame(Decoded((page.imagelength, page.imagewidth), decode))

    def planes_of_page(self) -> int:
        """Returns the number of images that a file with one page describes by its metadata.

        ImageJ describes stacks of more than 4 GB in this way, and tifffile describes truncated
        ones. The planes follow each other in the file.
        """
        page, count = self.page(0), 1
        if self.file.is_imagej:
            count = int((self.file.imagej_metadata or {}).get("images", 1))
        elif self.file.is_shaped:
            shape = (self.file.shaped_metadata or ({},))[0].get("shape", page.shape)
            count = math.prod(map(int, shape)) // math.prod(page.shape)
        if count > 1:
            needed = count * page.nbytes
            if not page.is_contiguous or page.dataoffsets[0] + needed > self.source.size:
                raise DistaxError(
                    f"{self.source.path}: describes {count} images, but does not hold them one "
                    "after the other; the file is truncated or damaged"
                )
        return count

    def open_plane(self, number: int) -> Frame:
        """Opens one of several images that follow the first page without pages of their own."""
        where = f"{self.source.path}: image {number}"
        with translated(where, "TIFF"):
            page = self.page(0)
            assert page.dtype is not None
            dtype = page.dtype.newbyteorder(self.file.byteorder)
            start = page.dataoffsets[0] + number * page.nbytes

        def decode() -> Num[np.ndarray, "height width"]:
            with translated(where, "TIFF"):
                plane = read_array(self.source.file, start, dtype, page.shaped, where)
                return _gray(plane, page, where, self.reading)

        return Frame(Decoded((page.imagelength, page.imagewidth), decode))


def _find_pages(source: Source) -> list[int]:
    """Returns the numbers of the pages that are frames.

    Follows the chain of directories, which in a damaged file may be circular or leave the file.
    """
    file = source.file
    order = {b"II": "<", b"MM": ">"}[file.read(2)]
    layout = _LAYOUTS[struct.unpack(f"{order}H", file.read(2))[0]]

    entry_size = struct.calcsize(order + layout.entry)

    def read(form: str) -> tuple[int, ...]:
        return struct.unpack(order + form, file.read(struct.calcsize(order + form)))

    types: list[int] = []
    seen: set[int] = set()
    (offset,) = read(layout.first)
    while offset:
        if offset in seen:
            raise DistaxError(
                f"{source.path}: the page after page {len(types) - 1} is an earlier one again; the "
                "file is damaged"
            )
        if offset >= source.size:
            raise DistaxError(
                f"{source.path}: page {len(types)} lies beyond the end of the file, which is "
                "truncated or damaged"
            )
        seen.add(offset)
        file.seek(offset)
        (tags,) = read(layout.number)
        if tags > _MOST_TAGS:
            raise DistaxError(f"{source.path}: page {len(types)} has {tags} tags; it is damaged")
        subfile = 0
        for _ in range(tags):
            tag, _, _, value = struct.unpack(order + layout.entry, file.read(entry_size))
            if tag == _SUBFILE_TYPE:
                subfile = int.from_bytes(value[:4], "little" if order == "<" else "big")
        types.append(subfile)
        (offset,) = read(layout.offset)
    file.seek(0)
    if not types:
        raise DistaxError(f"{source.path}: has no page; the file is damaged")
    frames = [k for k, kind in enumerate(types) if not kind & (_SMALLER_COPY | _TRANSPARENCY)]
    return frames or [0]


def _gray(
    values: Shaped[np.ndarray, "separate 1 height width together"],
    page: "TiffPage",
    where: str,
    reading: Reading,
) -> Num[np.ndarray, "height width"]:
    """Returns the one channel of a page's samples."""
    # Some decoders return C's long long, another type of the same size as int64.
    kind = values.dtype
    values = values.astype(np.uint8) if kind.kind == "b" else values.view(np.dtype(kind.str))
    samples = np.moveaxis(values[:, 0], 0, -2).reshape(*values.shape[2:4], -1)
    if page.photometric == PALETTE:
        if page.colormap is None:
            raise DistaxError(f"{where}: has no palette, which its pixels need; it is damaged")
        return look_up(samples[..., 0], _eight_bits(page.colormap.T), where, reading)
    if samples.shape[-1] == 1:
        return samples[..., 0]
    alpha = any(kind in _ALPHA for kind in page.extrasamples[-1:])
    return one_channel(samples, alpha, where, reading)


def _eight_bits(palette: np.ndarray) -> np.ndarray:
    """Undoes the scaling of 8-bit colours to a TIFF palette's 16 bits, if the colours have it."""
    high = palette >> 8
    scaled = any(np.array_equal(palette, high * factor) for factor in (256, 257))
    return high if scaled else palette
