"""Checks of images, sensors and priors before an estimator takes them."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from distax.imaging.psf import MeasuredPsf
from distax.imaging.sensor import Sensor
from distax.runtime.errors import DistaxError, first_line, known_scalar

LARGEST_COUNT = 1e15
"""Counts beyond are those of no sensor. Their squares, in units of the noise, overflow float32."""


def check_single(*configs: Any) -> None:
    """Raises DistaxError for a batch of sensors or priors, which only `vmap` takes apart."""
    for name, number in _numbers_of(configs):
        if np.ndim(number) > 0:
            raise DistaxError(
                f"{name} holds {np.size(number)} numbers, but one is needed; map over them with "
                "jax.vmap, or call once for each"
            )


def check_one_psf(sensor: Sensor) -> None:
    """Raises DistaxError for a sensor whose PSF varies over its frames."""
    _ = sensor.psf


def check_known(*configs: Any) -> None:
    """Raises DistaxError for sensors or priors that JAX traces."""
    for name, number in _numbers_of(configs):
        known_scalar(name, number)


def _numbers_of(configs: Any) -> Iterator[tuple[str, Any]]:
    """Yields the numbers of sensors and priors with their names, without those of measured PSFs."""
    parts = jax.tree_util.tree_leaves_with_path(
        configs, is_leaf=lambda part: isinstance(part, MeasuredPsf)
    )
    for path, part in parts:
        if not isinstance(part, MeasuredPsf):
            yield jax.tree_util.keystr(path[1:], simple=True, separator="."), part


def as_counts(images: Any, name: str = "images", wide: bool = False) -> Float[np.ndarray, "..."]:
    """Converts images to an array of counts. Masked pixels become NaN, which marks unknown ones.

    Args:
      images: an array of real numbers, masked or not, or nested lists of them.
      name: name of the images in the error message.
      wide: True to keep float64 and to convert large integers to it. Default: float32.

    Raises:
      DistaxError: the images are not real numbers, differ in size, or are traced.
    """
    if isinstance(images, jax.core.Tracer):
        raise DistaxError(
            f"{name} must be known, not traced: call this outside jit, vmap and grad, or use "
            "distax.fitting.refine.refine, which can be traced"
        )
    masked = isinstance(images, list | tuple) and any(map(np.ma.isMaskedArray, images))
    try:
        array = np.ma.stack(images) if masked else np.asanyarray(images)
    except ValueError as error:
        raise DistaxError(
            f"{name}: not an array of counts ({first_line(error)}); give images of one size"
        ) from None
    if not any(jnp.issubdtype(array.dtype, kind) for kind in (np.floating, np.integer)):
        raise DistaxError(
            f"{name}: an array of {array.dtype}, not of counts; convert it to integers or floats"
        )
    kind = np.result_type(array.dtype, np.float32) if wide else np.float32
    # A count beyond float32 becomes infinite, and is then refused or left out as such.
    with np.errstate(over="ignore"):
        counts = np.asarray(array, kind)
    return np.where(np.ma.getmaskarray(array), np.nan, counts) if np.ma.is_masked(array) else counts


def to_stack(
    images: Any, sensor: Sensor, name: str = "images"
) -> Float[np.ndarray, "N height width"]:
    """Converts images by `as_counts` and checks them by `check_shape`."""
    pixels = as_counts(images, name)
    check_shape(pixels, sensor, name)
    return pixels


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


def check_sequences(frames: np.ndarray, sensor: Sensor, name: str = "frames") -> None:
    """Raises DistaxError for sequences that a model of sequences cannot take.

    Such a model answers a frame from several. So a frame with an unusable pixel is refused: without
    it, the frames around it would have no answer either.

    Args:
      frames: an array of sequences in counts.
      sensor: the sensor that should have delivered them.
      name: name of the frames in the error message.

    Raises:
      DistaxError: the array does not have four axes, there are no sequences, the frames have
        another size than the sensor's, or the sensor cannot have delivered one of them.
    """
    check_sequence_axes(frames, name)
    if not frames.size:
        raise DistaxError(f"{name}: an array of shape {frames.shape} holds no sequences")
    flat = frames.reshape(-1, *frames.shape[2:])
    check_shape(flat, sensor, name)
    for index, problem in find_problems(flat, sensor, missing_allowed=False).items():
        sequence, frame = divmod(index, frames.shape[1])
        place = f"frame {frame}" + (f" of sequence {sequence}" if len(frames) > 1 else "")
        raise DistaxError(f"{name}: {place}, {problem}")


def check_sequence_axes(frames: Any, name: str = "frames") -> None:
    """Raises DistaxError for an array that does not have the four axes of sequences."""
    if np.ndim(frames) != 4:
        raise DistaxError(
            f"{name}: an array of shape {np.shape(frames)}; sequences have four axes: number, "
            "frame, height, width"
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
    least, most = 0 if sensor.digital else -LARGEST_COUNT, min(sensor.clip_level, LARGEST_COUNT)
    outside = np.isfinite(images) & ((images < least) | (images > most))
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
                f"{least:g}..{most:g} counts of the sensor; scale to that range or describe your "
                "own sensor"
            )
    return problems


def _first(bad: np.ndarray) -> str:
    row, column = (int(index) for index in np.argwhere(bad)[0])
    return f"pixel ({row}, {column})"
