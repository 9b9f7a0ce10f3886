"""Stacks of images of one size, from one file or several."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from distax.io.frames import open_frames
from distax.io.pixels import to_floats
from distax.io.reading import Reading
from distax.runtime.errors import DistaxError


def read_images(
    paths: Path | Sequence[Path], reading: Reading = Reading()
) -> Float[np.ndarray, "N height width"]:
    """Reads all images of files into one array, in order; see `open_frames`.

    Counts are float32, or float64 where float32 would round them; bad pixels are NaN.

    Raises:
      DistaxError: a file cannot be read, the images differ in size, or together they exceed the
        size limit.
    """
    images: list[np.ndarray] = []
    files = [paths] if isinstance(paths, Path) else list(paths)
    stored = 0
    for path in files:
        with open_frames(path, reading) as frames:
            stored += len(frames) * math.prod(frames[0].shape) * np.dtype(np.float32).itemsize
            reading.check_size(path, stored)
            for number, frame in enumerate(frames):
                size = frame.shape
                if images and size != images[0].shape:
                    raise DistaxError(
                        f"{path}: image {number} has {size[0]}×{size[1]} px, the first of "
                        f"{files[0]} has {images[0].shape[0]}×{images[0].shape[1]}; give images of "
                        "one size"
                    )
                images.append(to_floats(frame.pixels[:]))
    return np.stack(images)
