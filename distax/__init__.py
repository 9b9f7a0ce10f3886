"""distax: unmixing of closely-spaced infrared small targets in JAX and Flax."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from distax.runtime.version import __version__

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
        shards,
        tracking,
        weights,
    )
    from distax.imaging.forward import render
    from distax.imaging.grid import decode, rasterize
    from distax.imaging.sensor import Sensor, expose
    from distax.imaging.targets import Targets, make_targets
    from distax.runtime.errors import DistaxError, DistaxWarning
    from distax.unmixer import Unmixer


__all__ = [
    "DistaxError",
    "DistaxWarning",
    "Sensor",
    "Targets",
    "Unmixer",
    "__version__",
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
    "shards",
    "tracking",
    "weights",
]

_MODULES = {
    "DistaxError": "runtime.errors",
    "DistaxWarning": "runtime.errors",
    "Sensor": "imaging.sensor",
    "Targets": "imaging.targets",
    "Unmixer": "unmixer",
    "decode": "imaging.grid",
    "expose": "imaging.sensor",
    "make_targets": "imaging.targets",
    "rasterize": "imaging.grid",
    "render": "imaging.forward",
}


def __getattr__(name: str) -> Any:
    """Imports a public name at its first use.

    The import of JAX is slow. The command line has to print its help and its errors before it.
    """
    if name not in __all__:
        raise AttributeError(f"module 'distax' has no attribute {name!r}")
    if name not in _MODULES:
        return import_module(f"distax.{name}")
    value = getattr(import_module(f"distax.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
