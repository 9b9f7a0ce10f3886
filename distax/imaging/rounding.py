"""Distance of the floating-point numbers near a level, which must not be wider than the noise."""

import jax.numpy as jnp
import numpy as np
from numpy.typing import DTypeLike

from distax.imaging.checks import check_known, check_single
from distax.imaging.sensor import Sensor
from distax.runtime.errors import DistaxError


def lossy_step(level: float, dtype: DTypeLike, whole: bool) -> float:
    """Returns the distance of neighbouring numbers near a level, in counts; 0 if none are lost.

    Args:
      level: level in counts.
      dtype: type of the numbers. Integers count as float64, which the library converts them to.
      whole: True if the counts are whole, so that a distance of up to one count loses nothing.
    """
    kind = np.dtype(dtype)
    floats = kind if kind.kind == "f" and kind.itemsize < 8 else np.dtype(float)
    step = float(np.spacing(np.abs(np.asarray(level, floats))))
    return 0.0 if whole and step <= 1 else step


def check_level(sensor: Sensor) -> None:
    """Checks that float32 numbers near the background are closer together than the noise.

    Images are computed with in float32, so that their noise would be lost.

    Raises:
      DistaxError: they are further apart; the sensor is a batch of sensors, or traced.
    """
    check_single(sensor)
    check_known(sensor)
    level = float(sensor.background)
    step = lossy_step(level, np.float32, sensor.digital)
    noise = float(sensor.total_variance(jnp.asarray(level, float))) ** 0.5
    if step > noise:
        raise DistaxError(
            f"a background of {level:g} counts leaves numbers of 32 bits {step:g} counts apart, "
            f"more than the noise of {noise:.3g}: subtract a constant from the images and from the "
            "sensor's background"
        )
