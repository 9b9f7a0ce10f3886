"""Export of methods as StableHLO programs, which run without the code of the method.

A program takes any number of images and runs on several platforms. `load` needs neither the models
nor Flax. Without distax, the files need only JAX and the package flatbuffers (see `archive`).
"""

from typing import TYPE_CHECKING, Any

from distax.export.archive import PLATFORMS
from distax.export.loading import ExportedMethod, load

if TYPE_CHECKING:
    from distax.export.writing import export

__all__ = ["PLATFORMS", "ExportedMethod", "export", "load"]


def __getattr__(name: str) -> Any:
    """Imports `export` at its first use: it needs the models, which `load` does without."""
    if name != "export":
        raise AttributeError(f"module 'distax.export' has no attribute {name!r}")
    from distax.export.writing import export

    return export
