"""Limits of the settings of frames, beyond which answers are slow or mean nothing."""

from distax.imaging.sensor import Sensor
from distax.runtime.errors import DistaxError, check_positive, finite

NARROWEST, WIDEST = 0.3, 6.0
"""Least and largest standard deviation of a PSF in pixels. A narrower one puts all light into one
pixel. A wider one takes time without need: adding pixels in squares loses nothing."""
SMALLEST_BOX = 16
"""Least side in pixels of a frame, and of a box in which the background is measured. Fewer pixels
give no reliable background."""
_RAREST = 1e-12
"""Least number of false blobs in a frame. Nobody knows the distribution of noise so far out."""
_LEAST, _MOST = 1e-15, 1e15
"""Range of read noise and gain whose squares 32 bits hold."""


def check_camera(sensor: Sensor) -> None:
    """Raises DistaxError for a camera whose frames cannot be unmixed."""
    one_gaussian = sensor.measured_psf is None and sensor.psf_grid is None
    narrowest = min(float(sigma) for sigma in sensor.sigmas) if one_gaussian else NARROWEST
    if narrowest < NARROWEST or sensor.widest_sigma > WIDEST:
        wrong = narrowest if narrowest < NARROWEST else sensor.widest_sigma
        raise DistaxError(
            f"sigma must lie between {NARROWEST} and {WIDEST:g} px in frames, got {wrong:g}; add "
            "pixels of wider stars in squares first"
        )
    for name, value in {"read_noise": sensor.read_noise, "gain": sensor.gain}.items():
        # A read noise of zero is measured instead.
        if value and not _LEAST <= value <= _MOST:
            raise DistaxError(f"{name} must lie between {_LEAST:g} and {_MOST:g}, got {value:g}")


def check_detection(false_blobs: float, box: int, min_score: float) -> None:
    """Raises DistaxError for settings of the detection that are out of range."""
    if 0 < finite("false_blobs", false_blobs) < _RAREST:
        raise DistaxError(f"false_blobs must be at least {_RAREST:g}, got {false_blobs:g}")
    check_positive(false_blobs=false_blobs)
    if box < SMALLEST_BOX:
        raise DistaxError(f"box must be at least {SMALLEST_BOX} pixels, got {box}")
    if not 0 <= min_score <= 1:
        raise DistaxError(f"min_score must lie between 0 and 1, as scores do, got {min_score:g}")
