"""Which estimator the options of a command name."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from distax.runtime.errors import DistaxError

if TYPE_CHECKING:
    from distax.unmixer import Unmixer

Method = Literal["fast", "posterior", "refine", "grid"]


def chosen_unmixer(
    method: Method | None,
    checkpoint: str | None,
    threshold: float | None,
    sensor_file: Path | None = None,
) -> "Unmixer":
    """The unmixer for `--method`, `--checkpoint` and `--sensor`.

    Without any it is the network of distax, and for another sensor than that was trained for the
    posterior.

    Raises:
      DistaxError: they do not go together, or the checkpoint or the sensor cannot be used.
    """
    from distax.imaging.sensor import Sensor
    from distax.io.sensor_file import read_sensor
    from distax.unmixer import Unmixer, prior_for

    sensor = read_sensor(sensor_file) if sensor_file else None
    if checkpoint is None:
        if method == "grid":
            raise DistaxError("the method grid needs a trained model: name one by --checkpoint")
        sensor = sensor or Sensor()
        return Unmixer(method=method, sensor=sensor, prior=prior_for(sensor))
    if method in ("refine", "posterior"):
        raise DistaxError(f"{method} has no model; give --method or --checkpoint, not both")
    unmixer = Unmixer.load(checkpoint, threshold, sensor)
    if method not in (None, unmixer.method):
        raise DistaxError(
            f"the model of {checkpoint} is for the method {unmixer.method}, not {method}; leave "
            "--method out"
        )
    return unmixer
