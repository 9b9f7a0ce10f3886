"""Fit of the sensor to the images of a run, before they are unmixed."""

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from distax.cli.unmix.runner import Unmixers
from distax.fitting.self_calibration import FittedSensor
from distax.imaging.sensor import Sensor
from distax.io.frames import open_frames
from distax.io.sensor_file import write_sensor
from distax.runtime.errors import DistaxError
from distax.runtime.terminal import say

_FIELDS = ("sigma", "background", "read_noise", "gain", "saturation")
"""Fields of the sensor that a fit can change."""


def fit_sensor(unmixers: Unmixers, files: Sequence[Path], out: Path) -> Unmixers:
    """Fits the sensor to all images of the files, writes it, and prints it in one line.

    Args:
      unmixers: the unmixers of the run, with the sensor to start from.
      files: files of images of the sensor's size.
      out: TOML file for the fitted sensor.

    Returns:
      The unmixers with the fitted sensor.

    Raises:
      DistaxError: a file cannot be read or holds an image of another size; the sensor cannot be
        fitted; the file cannot be written.
    """
    given = unmixers.sensor
    images = [image for path in files for image in _read(path, unmixers)]
    calibrated = unmixers.for_images.calibrated(np.stack(images))
    fitted = calibrated.fitted
    assert fitted is not None
    write_sensor(out, fitted.sensor, _remarks(fitted, given))
    say(f"{out}: {_summary(fitted)}")
    return replace(unmixers, calibrated=calibrated)


def _read(path: Path, unmixers: Unmixers) -> Iterator[Float[np.ndarray, "height width"]]:
    """Yields the images of a file, which must have the sensor's size."""
    height, width = unmixers.sensor.shape
    with open_frames(path, unmixers.input.reading) as content:
        for number, frame in enumerate(content):
            if frame.shape != (height, width):
                raise DistaxError(
                    f"{path}: image {number} is {frame.shape[0]}×{frame.shape[1]} px, but "
                    f"--fit-sensor takes images of {height}×{width} px only; leave the frame out, "
                    "or measure its sensor by calibrate"
                )
            yield np.asarray(frame.pixels[:], np.float32)


def _remarks(fitted: FittedSensor, given: Sensor) -> dict[str, str]:
    """Returns comments for the sensor's file: the error and the source of each field."""
    source = f"fitted to {fitted.images} images of unknown scenes"
    remarks = {}
    for name in (field.name for field in fields(given)):
        if name in fitted.std:
            remarks[name] = f"± {_format(fitted.std[name], '2g')}, {source}"
        elif name in fitted.kept:
            remarks[name] = "kept: the images do not determine it"
        elif name == "saturation" and fitted.sensor.saturation != given.saturation:
            remarks[name] = "clipped pixels"
        else:
            remarks[name] = "as given"
    return remarks


def _summary(fitted: FittedSensor) -> str:
    """Formats the fitted fields with their errors, and the names of those that are kept."""
    parts = []
    for name in _FIELDS:
        value = getattr(fitted.sensor, name)
        if name in fitted.kept or value is None:
            continue
        error = f" ± {_format(fitted.std[name], '2g')}" if name in fitted.std else ""
        parts.append(f"{name.replace('_', ' ')} {_format(value, '5g')}{error}")
    kept = ", ".join(name.replace("_", " ") for name in fitted.kept)
    unsaid = f"; not determined, so kept: {kept}" if kept else ""
    return f"sensor fitted to {fitted.images} images: {', '.join(parts)}{unsaid}"


def _format(value: Any, style: str) -> str:
    values = value if isinstance(value, tuple) else (value,)
    return ", ".join(f"{each:.{style}}" for each in values)
