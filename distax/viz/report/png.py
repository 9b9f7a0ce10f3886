"""Encoding of pictures of at most 255 colours as PNG: small files, always the same bytes."""

import base64
import math
import struct
import zlib

import numpy as np
from jaxtyping import Float, UInt8

UNKNOWN = 255
"""Level of pixels without a value, which are transparent."""
_TOP = UNKNOWN - 1
_DIVERGING = "#2166ac", "#92c5de", "#f7f7f7", "#f4a582", "#b2182b"
"""Blue for too little light and red for too much, told apart by the colour-blind too."""

Colours = tuple[str, ...]
"""Colours at equal distances on a scale, the lowest first, as "#rrggbb"."""
GREY: Colours = ("#000000", "#ffffff")
DIVERGING: Colours = _DIVERGING


def to_levels(
    values: Float[np.ndarray, "*shape"],
    low: Float[np.ndarray, "*around"] | float,
    high: Float[np.ndarray, "*around"] | float,
    steps: int = _TOP,
) -> UInt8[np.ndarray, "*shape"]:
    """Converts values to levels of a palette: 0 at `low`, 254 at `high`, `UNKNOWN` for NaN.

    Args:
      values: pixels.
      low, high: limits, which broadcast against the pixels. Values beyond them are clipped.
      steps: number of steps between them. Fewer make smaller files.
    """
    share = np.clip((values - low) / np.maximum(np.subtract(high, low), 1e-30), 0.0, 1.0)
    levels = np.round(np.round(share * steps) * (_TOP / steps))
    return np.where(np.isfinite(levels), levels, UNKNOWN).astype(np.uint8)


def lay_out(tiles: UInt8[np.ndarray, "B height width"]) -> UInt8[np.ndarray, "rows columns"]:
    """Lays tiles out in rows of `tiles_across` each, so that one picture holds them all."""
    number, height, width = tiles.shape
    across = tiles_across(number)
    # A PNG file has at least one pixel.
    down = max(1, math.ceil(number / across))
    sheet = np.full((down * across, height, width), UNKNOWN, np.uint8)
    sheet[:number] = tiles
    rows = sheet.reshape(down, across, height, width).swapaxes(1, 2)
    return rows.reshape(down * height, across * width)


def tiles_across(number: int) -> int:
    """Returns the number of tiles in a row of `lay_out`, which makes the sheet about square."""
    return max(1, math.ceil(math.sqrt(number)))


def to_png(levels: UInt8[np.ndarray, "height width"], colours: Colours) -> bytes:
    """Encodes levels as a PNG file with a palette.

    Args:
      levels: from `to_levels`.
      colours: the scale.
    """
    height, width = levels.shape
    # Filter 0 before each row: no prediction, which is best for noise of a few levels.
    rows = np.pad(levels, ((0, 0), (1, 0)))
    opaque = bytes([255] * UNKNOWN + [0])
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(kind, content)
        for kind, content in (
            (b"IHDR", struct.pack(">2I5B", width, height, 8, 3, 0, 0, 0)),
            (b"PLTE", _palette(colours).tobytes()),
            (b"tRNS", opaque),
            (b"IDAT", zlib.compress(rows.tobytes(), 9)),
            (b"IEND", b""),
        )
    )


def to_url(png: bytes) -> str:
    """Returns the data URL of a PNG file."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _palette(colours: Colours) -> UInt8[np.ndarray, "256 3"]:
    """Interpolates the colours of all levels."""
    anchors = np.array([list(bytes.fromhex(colour[1:])) for colour in colours], float)
    place = np.linspace(0, len(anchors) - 1, UNKNOWN)
    nodes = np.arange(len(anchors))
    channels = [np.interp(place, nodes, channel) for channel in anchors.T]
    palette = np.round(np.stack(channels, axis=-1)).astype(np.uint8)
    return np.concatenate([palette, np.zeros((1, 3), np.uint8)])


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
