"""SeqCSIST as a TFDS dataset: simulated sequences, or read from the published files.

Call `build` once, then `open_split` for random access to the records (as grain needs it) or
`read_split` for whole arrays.
"""

from distax.datasets.seqcsist.builder import DATASET, SeqCsist, build
from distax.datasets.seqcsist.configs import SimulatedConfig, get_config
from distax.datasets.seqcsist.record import record_to_example
from distax.datasets.storage import ReleasedConfig

open_split = DATASET.open_split
read_rows = DATASET.read_rows
read_split = DATASET.read_split

__all__ = [
    "ReleasedConfig",
    "SeqCsist",
    "SimulatedConfig",
    "build",
    "get_config",
    "open_split",
    "read_rows",
    "read_split",
    "record_to_example",
]
