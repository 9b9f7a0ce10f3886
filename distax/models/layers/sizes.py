"""Which sizes of layers and images can work together."""

from distax.imaging.sensor import Sensor
from distax.runtime.errors import DistaxError


def check_multiple(of: int, **values: int) -> None:
    """Raise DistaxError for the first keyword that is not a multiple of a number."""
    for name, value in values.items():
        if value % of:
            raise DistaxError(f"{name} must be a multiple of {of}, got {value}")


def check_side(sensor: Sensor, pixels: int) -> None:
    """Raise DistaxError for a sensor whose images have a side of less than so many pixels."""
    if min(sensor.height, sensor.width) < pixels:
        raise DistaxError(
            f"images must be at least {pixels} pixels high and wide, "
            f"got {sensor.height}×{sensor.width}"
        )
