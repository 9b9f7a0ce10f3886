"""Reading one 8-bit grey PNG, strictly."""

import io
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from distax.runtime.errors import DistaxError
from distax.runtime.optional import require


def read_png(path: Path, shape: tuple[int, int]) -> UInt8[np.ndarray, "height width"]:
    """The pixels of an 8-bit grey PNG of `shape` (height, width).

    Raises:
      DistaxError: the file is truncated, damaged or no PNG, is not 8-bit grey, or has another
        size.
      OSError: the file cannot be read at all.
    """
    require("PIL", "CSIST-100K's images")
    from PIL import Image

    content = path.read_bytes()
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            mode, size = image.mode, image.size
            image.verify()  # the checksums, which decoding ignores
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            pixels = np.array(image) if (mode, size) == ("L", shape[::-1]) else None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DistaxError(f"{path} is a damaged PNG: unpack the dataset again") from error
    if pixels is None:
        raise DistaxError(
            f"{path} is a PNG of mode {mode} and {size[1]}×{size[0]} pixels, expected 8-bit grey "
            f"(mode L) of {shape[0]}×{shape[1]}: use the published images, not converted ones"
        )
    return pixels
