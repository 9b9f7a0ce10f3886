"""CSIST-100K as a TFDS dataset: simulated afresh, or read from the published files.

Call `build` once, then `open_split` for random access to the records (as grain wants it) or
`read_split` for whole arrays.
"""

from distax.datasets.csist100k.builder import Csist100k
from distax.datasets.csist100k.building import build
from distax.datasets.csist100k.configs import ReleasedConfig, SimulatedConfig, get_config
from distax.datasets.csist100k.reading import open_split, read_split
from distax.datasets.csist100k.record import record_to_example

__all__ = [
    "Csist100k",
    "ReleasedConfig",
    "SimulatedConfig",
    "build",
    "get_config",
    "open_split",
    "read_split",
    "record_to_example",
]
