"""distax: unmixing of closely-spaced infrared small targets in JAX and Flax."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distax import (
        calibration,
        evaluation,
        export,
        frames,
        interop,
        metrics,
        models,
        scenes,
        sequences,
        weights,
    )
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
    "calibration",
    "decode",
    "evaluation",
    "export",
    "expose",
    "frames",
    "interop",
    "make_targets",
    "metrics",
    "models",
    "rasterize",
    "render",
    "scenes",
    "sequences",
    "weights",
]

_MODULES = {
    "DistaxError": "errors",
    "DistaxWarning": "errors",
    "Sensor": "sensor",
    "Targets": "targets",
    "Unmixer": "unmixer",
    "decode": "grid",
    "expose": "sensor",
    "make_targets": "targets",
    "rasterize": "grid",
    "render": "sensor",
}


def __getattr__(name: str) -> Any:
    """What the package offers, imported at first use: the command line has to speak before JAX."""
    if name not in __all__:
        raise AttributeError(f"module 'distax' has no attribute {name!r}")
    if name not in _MODULES:
        return import_module(f"distax.{name}")
    value = getattr(import_module(f"distax.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
