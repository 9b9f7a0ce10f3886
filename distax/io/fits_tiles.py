"""Compressed FITS images: checks that decoders omit, and decoding in a separate process.

The C decoders of HCOMPRESS and PLIO neither know where their input ends nor, for HCOMPRESS, how
large their output is. With a damaged file they write beyond their memory.
"""

import math
import shutil
import struct
import tempfile
import zlib
from collections.abc import Iterator
from io import BufferedReader
from itertools import product
from pathlib import Path

import numpy as np
from jaxtyping import Num

from distax.io.apart import decode_apart
from distax.io.fits_structure import Hdu
from distax.io.reading import Reading
from distax.runtime.errors import DistaxError
from distax.runtime.optional import require

_UNSAFE = ("HCOMPRESS_1", "PLIO_1")
"""Compressions whose decoders may crash on damaged input."""
_COMPRESSIONS = ("RICE_1", "RICE_ONE", "GZIP_1", "GZIP_2", "NOCOMPRESS", *_UNSAFE)
_LARGEST_DEFLATE = 1032
"""Largest ratio of unpacked to packed bytes in deflate."""
_SETTINGS = {"BLOCKSIZE": (16, 32), "BYTEPIX": (1, 2, 4, 8)}
"""Values that the FITS standard allows for settings of the Rice algorithm."""
_DECODER = Path(__file__).with_name("fits_decoding.py")


def check_tiles(hdu: Hdu, reading: Reading) -> None:
    """Checks the header of a compressed image before anything is allocated.

    Raises:
      DistaxError: the compression is unknown, its settings are out of range, the number of tiles
        does not suit the image, or the image is larger than the limit or than the file can hold.
    """
    kind = hdu.text("ZCMPTYPE")
    if kind not in _COMPRESSIONS:
        raise DistaxError(
            f"{hdu.where}: is compressed by {kind!r}, which is not read; unpack it by funpack"
        )
    shape, tile = hdu.axes("ZNAXIS"), tile_shape(hdu)
    number = math.prod(math.ceil(side / part) for side, part in zip(shape, tile, strict=True))
    rows = hdu.whole("NAXIS2")
    if number != rows:
        raise DistaxError(
            f"{hdu.where}: has {rows} tiles, but its image of {hdu.shape} in tiles of "
            f"{tile[::-1]} needs {number}; the file is damaged"
        )
    promised = math.prod(shape) * abs(hdu.whole("ZBITPIX")) // 8
    reading.check_size(hdu.where, promised, hdu.size)
    for keyword in hdu.cards:
        name = hdu.text(keyword).upper()
        if keyword.startswith("ZNAME") and name in _SETTINGS:
            value = hdu.whole(keyword.replace("ZNAME", "ZVAL"))
            if value not in _SETTINGS[name]:
                raise DistaxError(
                    f"{hdu.where}: {name} is {value}, not one of {_SETTINGS[name]}; the file is "
                    "damaged"
                )


def tile_shape(hdu: Hdu) -> tuple[int, ...]:
    """Returns the sides of a tile in the order of the header. Default: one row."""
    sides = hdu.axes("ZNAXIS")
    tile = tuple(
        hdu.whole(f"ZTILE{axis}", side if axis == 1 else 1) for axis, side in enumerate(sides, 1)
    )
    if any(side < 1 for side in tile):
        raise DistaxError(f"{hdu.where}: has tiles of {tile[::-1]}; the file is damaged")
    return tile


def check_streams(hdu: Hdu, file: BufferedReader, reading: Reading) -> None:
    """Checks the compressed tiles of an image against its header.

    Args:
      hdu: the compressed image.
      file: the open FITS file.
      reading: settings of the reader.

    Raises:
      DistaxError: an HCOMPRESS tile has another size, or a gzip tile unpacks to more than the
        limit.
    """
    require("astropy", "FITS files")
    from astropy.io import fits

    # Closing it would close the file, which others still read.
    table = fits.open(file, memmap=False, disable_image_compression=True)[hdu.index].data
    streams = table["COMPRESSED_DATA"]
    if hdu.text("ZCMPTYPE") == "HCOMPRESS_1":
        for number, sides in enumerate(_tile_sides(hdu)):
            stream = bytes(streams[number])
            if not stream:
                continue
            held = struct.unpack(">2i", stream[2:10]) if len(stream) >= 10 else None
            wanted = tuple(side for side in sides if side > 1)
            if held != wanted:
                raise DistaxError(
                    f"{hdu.where}: tile {number} holds {held} pixels, but its place in the image "
                    f"has {wanted}; the file is damaged"
                )
    names = [name for name in table.names if name in ("COMPRESSED_DATA", "GZIP_COMPRESSED_DATA")]
    if not hdu.text("ZCMPTYPE").startswith("GZIP"):
        names.remove("COMPRESSED_DATA")
    for name in names:
        for number, stream in enumerate(table[name]):
            # Shorter streams cannot unpack to more than the limit.
            if len(stream) * _LARGEST_DEFLATE > reading.max_bytes:
                unpacking = zlib.decompressobj(wbits=31)
                unpacked = unpacking.decompress(bytes(stream), reading.max_bytes + 1)
                reading.check_size(f"{hdu.where}: tile {number}", len(unpacked))


def _tile_sides(hdu: Hdu) -> Iterator[tuple[int, ...]]:
    """Yields the sides of every tile, the fastest axis last. Tiles end at the image's edge."""
    starts = [
        range(0, side, part) for side, part in zip(hdu.shape, tile_shape(hdu)[::-1], strict=True)
    ]
    for corner in product(*starts):
        yield tuple(
            min(part, side - start)
            for start, part, side in zip(corner, tile_shape(hdu)[::-1], hdu.shape, strict=True)
        )


def is_unsafe(hdu: Hdu) -> bool:
    """Returns True for an image that `decode_unsafe` has to decode."""
    return hdu.is_compressed and hdu.text("ZCMPTYPE") in _UNSAFE


def decode_unsafe(file: BufferedReader, hdu: Hdu) -> Num[np.ndarray, "..."]:
    """Decodes a compressed image in a separate process.

    Args:
      file: the open FITS file.
      hdu: the compressed image.

    Raises:
      DistaxError: the decoder crashed, failed or took too long.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "image.fits")
        file.seek(0)
        with copy.open("wb") as out:
            shutil.copyfileobj(file, out)
        try:
            (pixels,) = decode_apart(_DECODER, str(copy), str(hdu.index))
        except ValueError as error:
            raise DistaxError(
                f"{hdu.where}: its {hdu.text('ZCMPTYPE')} tiles cannot be decoded; the file is "
                "damaged, or try to unpack it by funpack"
            ) from error
    return pixels
