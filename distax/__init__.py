"""distax: unmixing of closely-spaced infrared small targets in JAX and Flax."""

from distax import interop, metrics, models, scenes
from distax.errors import DistaxError, DistaxWarning
from distax.grid import decode, rasterize
from distax.sensor import Sensor, expose, render
from distax.targets import Targets, make_targets
from distax.unmixer import Unmixer

__version__ = "0.1.0"

__all__ = [
    "DistaxError",
    "DistaxWarning",
    "Sensor",
    "Targets",
    "Unmixer",
    "decode",
    "expose",
    "interop",
    "make_targets",
    "metrics",
    "models",
    "rasterize",
    "render",
    "scenes",
]
