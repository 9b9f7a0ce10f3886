"""Check that a PNG holds all of its rows. Pillow leaves rows that are missing at zero."""

import math
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Samples of a pixel by the colour type."""
_WHOLE = ((0, 0, 1, 1),)
_ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
"""Passes: first column and row, and the distance of columns and of rows. The second tuple is that
of interlaced images, from the PNG specification, section 8.2."""
_STEP = 2**20


def check_rows(file: BinaryIO) -> None:
    """Compares the length of a PNG's unpacked pixels with its header.

    Args:
      file: a PNG whose checksums are right; its position is changed.

    Raises:
      ValueError: rows are missing.
      zlib.error: the pixels cannot be unpacked.
    """
    file.seek(8)
    chunks = _chunks(file)
    _, header = next(chunks)
    promised, held = _length(header), 0
    inflating = zlib.decompressobj()
    for kind, content in chunks:
        left = content if kind == b"IDAT" else b""
        while left and held < promised:
            held += len(inflating.decompress(left, _STEP))
            left = inflating.unconsumed_tail
    if held < promised:
        raise ValueError(f"it holds {held:,} of {promised:,} bytes of rows")


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    while len(start := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", start)
        yield kind, file.read(length)
        file.read(4)  # the checksum


def _length(header: bytes) -> int:
    """Returns the number of bytes of an image's rows, each with the byte of its filter."""
    width, height, depth, colour, _, _, interlace = struct.unpack(">2I5B", header)
    total = 0
    for column, row, across, down in _ADAM7 if interlace else _WHOLE:
        pixels, rows = math.ceil((width - column) / across), math.ceil((height - row) / down)
        if pixels > 0:
            total += max(rows, 0) * (1 + math.ceil(pixels * _SAMPLES[colour] * depth / 8))
    return total
