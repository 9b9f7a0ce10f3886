"""Checks of images before an estimator takes them."""

import numpy as np

from distax.imaging.sensor import Sensor
from distax.runtime.errors import DistaxError


def check_shape(images: np.ndarray, sensor: Sensor, name: str = "images") -> None:
    """Raises DistaxError for images of another size than the sensor's.

    Args:
      images: a stack of images.
      sensor: the sensor.
      name: name of the images in the error message.

    Raises:
      DistaxError: the array is not a stack of images, or they have another size.
    """
    if images.ndim != 3:
        raise DistaxError(
            f"{name}: an array of shape {images.shape}; a stack of images has three axes: number, "
            "height, width"
        )
    if images.shape[-2:] != sensor.shape:
        raise DistaxError(
            f"{name}: {images.shape[-2]}×{images.shape[-1]} px, the sensor has "
            f"{sensor.height}×{sensor.width}; cut that window around each blob"
        )


def find_problems(images: np.ndarray, sensor: Sensor, missing_allowed: bool) -> dict[int, str]:
    """Finds images that the sensor cannot have delivered.

    Args:
      images: a stack of images in counts.
      sensor: the sensor that should have delivered them.
      missing_allowed: True if NaN marks pixels to leave out; False if every pixel has to be known.

    Returns:
      For each bad image a description of the problem, by the image's index.
    """
    missing = np.isnan(images) if missing_allowed else np.zeros(images.shape, bool)
    unreadable = ~np.isfinite(images) & ~missing
    outside = np.isfinite(images) & (images > sensor.clip_level)
    if sensor.digital:
        outside |= images < 0
    blank = np.asarray(missing.all(axis=(1, 2)))
    problems = {}
    for index in np.flatnonzero((unreadable | outside).any(axis=(1, 2)) | blank).tolist():
        if blank[index]:
            problems[index] = "every pixel is NaN; there is nothing to fit"
        elif unreadable[index].any():
            value = "infinite" if missing_allowed else "NaN or infinite; replace bad pixels first"
            problems[index] = f"{_first(unreadable[index])} is {value}"
        else:
            problems[index] = (
                f"{_first(outside[index])} is {images[index][outside[index]][0]:g}, outside the "
                f"0..{sensor.clip_level:g} counts of the sensor; scale to that range or describe "
                "your own sensor"
            )
    return problems


def _first(bad: np.ndarray) -> str:
    row, column = (int(index) for index in np.argwhere(bad)[0])
    return f"pixel ({row}, {column})"
