"""distax: unmixing of closely-spaced infrared small targets in JAX and Flax."""

from distax import metrics, models, scenes
from distax.errors import DistaxError
from distax.grid import decode, rasterize
from distax.sensor import Sensor, expose, render
from distax.targets import Targets, make_targets

__version__ = "0.1.0"

__all__ = [
    "DistaxError",
    "Sensor",
    "Targets",
    "decode",
    "expose",
    "make_targets",
    "metrics",
    "models",
    "rasterize",
    "render",
    "scenes",
]
