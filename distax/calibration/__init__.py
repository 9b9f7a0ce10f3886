"""Calibration of a sensor's PSF, noise and limits from its own images."""

from distax.calibration.pipeline import calibrate
from distax.calibration.result import Calibration, Departure, Node, Quantity

__all__ = ["Calibration", "Departure", "Node", "Quantity", "calibrate"]
