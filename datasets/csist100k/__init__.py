"""CSIST-100K as a TFDS dataset: simulated, or read from the published files.

Call `build` once, then `open_split` for random access to the records (as grain needs it) or
`read_split` for whole arrays.
"""

from distax.datasets.csist100k.builder import DATASET, Csist100k, build
from distax.datasets.csist100k.configs import SimulatedConfig, get_config
from distax.datasets.csist100k.record import record_to_example
from distax.datasets.storage import ReleasedConfig

open_split = DATASET.open_split
read_rows = DATASET.read_rows
read_split = DATASET.read_split

__all__ = [
    "Csist100k",
    "ReleasedConfig",
    "SimulatedConfig",
    "build",
    "get_config",
    "open_split",
    "read_rows",
    "read_split",
    "record_to_example",
]
