"""Export of methods as StableHLO programs, which run without the code of the method.

A program takes any number of images and runs on several platforms. `load` needs neither the models
nor Flax, and JAX alone can read the files too (see `archive`).
"""

from distax.export.archive import PLATFORMS
from distax.export.loading import Loaded, load
from distax.export.writing import export

__all__ = ["PLATFORMS", "Loaded", "export", "load"]
