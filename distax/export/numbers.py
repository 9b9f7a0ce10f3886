"""Numbers of sensor and prior, as inputs of an exported method that serves every camera.

The numbers have no structure: a sensor without saturation, shot noise or digitiser is one whose
numbers make no difference. So one program serves all.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from distax.imaging.scenes import ScenePrior
from distax.imaging.sensor import Sensor

NO_SHOT_NOISE = 1e12
"""Electrons per count that stand for no shot noise. Float32 holds their inverse, whose variance is
far below that of any other noise."""

MEANING = {
    "sigma": ("px", "standard deviations of the PSF over rows and over columns"),
    "background": ("counts", "level that every pixel receives besides the targets"),
    "read_noise": ("counts", "standard deviation of the read noise"),
    "gain": ("electrons per count", f"sets the shot noise; {NO_SHOT_NOISE:g} for none"),
    "clip_level": ("counts", "largest count that the sensor can deliver; infinite for none"),
    "digital": ("", "1 if the sensor rounds to whole counts, 0 if not"),
    "min_intensity": ("counts", "smallest total flux of a target"),
    "max_intensity": ("counts", "largest total flux of a target"),
    "min_distance": ("px", "smallest distance between two targets"),
    "cluster": ("px", "side of the square that holds all targets"),
}
"""Unit and meaning of each number."""

Numbers = Mapping[str, Any]
"""Arrays of numbers by the names of `MEANING`, known or traced."""


def numbers_of(sensor: Sensor, prior: ScenePrior) -> dict[str, Float[np.ndarray, "..."]]:
    """Returns the numbers of a sensor and a prior, by the names of `MEANING`."""
    numbers = {
        "sigma": sensor.sigmas,
        "background": sensor.background,
        "read_noise": sensor.read_noise,
        "gain": NO_SHOT_NOISE if sensor.gain is None else sensor.gain,
        "clip_level": sensor.clip_level,
        "digital": sensor.digital,
        "min_intensity": prior.min_intensity,
        "max_intensity": prior.max_intensity,
        "min_distance": prior.min_distance,
        "cluster": prior.cluster,
    }
    return {name: np.asarray(value, np.float32) for name, value in numbers.items()}
