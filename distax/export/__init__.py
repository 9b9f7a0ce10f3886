"""Methods as files that compute without their code: StableHLO for any batch and several platforms.

`load` needs neither the models nor Flax, and JAX alone can read the files too (see `archive`).
"""

from distax.export.archive import PLATFORMS
from distax.export.loading import Loaded, load
from distax.export.writing import export

__all__ = ["PLATFORMS", "Loaded", "export", "load"]
