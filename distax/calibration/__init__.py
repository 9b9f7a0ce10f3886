"""A sensor's PSF, noise and limits, measured from its own images."""

from distax.calibration.pipeline import calibrate
from distax.calibration.result import Calibration, Quantity

__all__ = ["Calibration", "Quantity", "calibrate"]
