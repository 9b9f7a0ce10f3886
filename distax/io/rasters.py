"""Images in PNG, BMP and JPEG files."""

import struct
import warnings
from io import BufferedReader, BytesIO
from typing import Any

import numpy as np
from jaxtyping import Num, UInt8, UInt16

from distax.io.channels import look_up, one_channel
from distax.io.faults import translated
from distax.io.pixels import Frame, Frames
from distax.io.png_rows import check_rows
from distax.io.reading import Reading
from distax.io.source import Source
from distax.runtime.errors import DistaxError, DistaxWarning
from distax.runtime.optional import require

_GRAY = ("1", "L", "I", "I;16", "I;16B")
"""Pillow's modes of one channel."""
_COLOUR = {"LA": True, "RGB": False, "RGBA": True}
"""Pillow's modes of several channels; True for those with alpha."""
_SCALE = {1: 1, 2: 85, 4: 17}
"""Factors by which Pillow multiplies the values of grey PNG files, by their bits."""


def open_raster(source: Source, reading: Reading) -> Frames:
    """Reads a PNG, BMP or JPEG image, with the values as stored.

    Raises:
      DistaxError: the file is damaged or too large, is an animation, or has colours; see
        `one_channel`.
    """
    require("PIL", "PNG, BMP and JPEG files")
    from PIL import Image

    where = source.path
    with translated(where, source.kind):
        depth, colour_type = _png_depth(source)
        try:
            with Image.open(source.file, formats=[source.kind]) as image:
                size, mode = image.size, image.mode
                frames = getattr(image, "n_frames", 1)
        except Image.DecompressionBombError:
            raise DistaxError(
                f"{where}: too large for this format; store it as FITS or NPY"
            ) from None
        if source.kind == "PNG" and frames > 1:
            raise DistaxError(f"{where}: an animation of {frames} images; save each to a file")
        samples = size[0] * size[1] * max(1, depth // 8) * Image.getmodebands(mode)
        reading.check_size(where, samples, source.size)
        if depth == 16 and colour_type:
            pixels = _deep_colours(source, reading)
        else:
            pixels = _decode(source, depth, reading)
    if source.kind == "JPEG":
        warnings.warn(
            f"{where}: JPEG changes pixels in blocks of 8×8, so its noise is not that of the "
            "camera: expect false blobs and too small errors; record PNG or TIFF instead",
            DistaxWarning,
            stacklevel=2,
        )
    return Frames(1, lambda number: Frame(pixels))


def _png_depth(source: Source) -> tuple[int, int]:
    """Returns bits per sample and colour type (0: grey) of a PNG; (8, 0) for other formats."""
    if source.kind != "PNG":
        return 8, 0
    header = source.file.read(26)
    if len(header) < 26:
        raise DistaxError(f"{source.path}: a truncated PNG file; copy it again")
    return header[24], header[25]


def _decode(source: Source, depth: int, reading: Reading) -> Num[np.ndarray, "height width"]:
    """Decodes an image by Pillow, and undoes its scaling of fewer than eight bits."""
    from PIL import Image

    file: BufferedReader | BytesIO = source.file
    palette = None
    if source.kind == "BMP":
        file, palette = _without_gray_palette(source)
    if source.kind == "PNG":
        with Image.open(file, formats=["PNG"]) as image:
            image.verify()  # checksums, which decoding ignores
        check_rows(file)
        file.seek(0)
    with Image.open(file, formats=[source.kind]) as image:
        values, mode = np.array(image), image.mode
        if mode == "P" and palette is None:
            palette = _palette(image)
    if mode == "P" and palette is not None:
        return look_up(values, palette, source.path, reading)
    if mode in _GRAY:
        values = values.astype(np.uint8) if mode == "1" else values
        return values // _SCALE[depth] if mode == "L" and depth in _SCALE else values
    if mode in _COLOUR:
        if source.kind == "BMP" and (most := _most_of_16_bits(source)) is not None:
            values = ((values.astype(np.uint16) * most + 254) // 255).astype(np.uint8)
        return one_channel(values, _COLOUR[mode], source.path, reading)
    raise DistaxError(f"{source.path}: has the colours {mode}; save it in gray")


def _palette(image: Any) -> UInt8[np.ndarray, "entries channels"]:
    """Returns the palette of a Pillow image, with alpha as a fourth channel if there is one."""
    colours = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    transparency = image.info.get("transparency")
    if transparency is None:
        return colours
    alpha = np.full(len(colours), 255, np.uint8)
    if isinstance(transparency, bytes):
        known = min(len(transparency), len(alpha))
        alpha[:known] = np.frombuffer(transparency, np.uint8)[:known]
    else:
        alpha[transparency] = 0
    return np.column_stack([colours, alpha])


def _without_gray_palette(
    source: Source,
) -> tuple[BufferedReader | BytesIO, UInt8[np.ndarray, "entries 3"] | None]:
    """Replaces the first colour of a BMP file's palette, and returns the true palette.

    From a grey palette Pillow infers a type of pixels, and fails for 4 bits and for two colours in
    8 bits. If the palette is not grey, it returns the indices.

    Returns:
      The file to decode, and the palette; None for a file without one.
    """
    source.file.seek(0)
    content = bytearray(source.file.read())
    header, short = struct.unpack_from("<I", content, 14)[0], 12
    bits = struct.unpack_from("<H", content, 24 if header == short else 28)[0]
    if bits > 8:
        return source.file, None
    stated = 0 if header == short else struct.unpack_from("<I", content, 46)[0]
    start, size, entries = 14 + header, 3 if header == short else 4, stated or 2**bits
    colours = np.frombuffer(content, np.uint8, size * min(entries, 256), start).reshape(-1, size)
    palette = colours[:, 2::-1].copy()
    content[start : start + 3] = b"\x01\x02\x03"
    return BytesIO(content), palette


def _most_of_16_bits(source: Source) -> UInt16[np.ndarray, "3"] | None:
    """Returns the largest red, green and blue that a BMP of 16 bits holds; None for other depths.

    Pillow multiplies the values by 255 over these, and rounds down.
    """
    source.file.seek(0)
    header = source.file.read(70)
    (size,) = struct.unpack_from("<I", header, 14)
    if size == 12 or struct.unpack_from("<H", header, 28)[0] != 16:
        return None
    fields, green = struct.unpack_from("<I", header, 30)[0], struct.unpack_from("<I", header, 58)[0]
    return np.array([31, 63 if (fields, green) == (3, 0x7E0) else 31, 31], np.uint16)


def _deep_colours(source: Source, reading: Reading) -> Num[np.ndarray, "height width"]:
    """Decodes a PNG of several 16-bit channels, whose lower eight bits Pillow would drop."""
    require("imagecodecs", "PNG files of 16-bit colours")
    import imagecodecs

    source.file.seek(0)
    samples = imagecodecs.png_decode(source.file.read())
    return one_channel(samples, samples.shape[-1] in (2, 4), source.path, reading)
