"""Sequences of the kind of SeqCSIST as a TFDS dataset, simulated afresh.

Call `build` once, then `open_split` for random access to the records (as grain wants it) or
`read_split` for whole arrays.
"""

from distax.datasets.seqcsist.builder import SeqCsist
from distax.datasets.seqcsist.configs import SimulatedConfig, get_config
from distax.datasets.seqcsist.record import record_to_example
from distax.datasets.storage import Dataset

DATASET = Dataset(
    builder=SeqCsist,
    title="SeqCSIST",
    prefix="seqcsist/",
    get_config=get_config,
    record_to_example=record_to_example,
)

build = DATASET.build
open_split = DATASET.open_split
read_split = DATASET.read_split

__all__ = [
    "DATASET",
    "SeqCsist",
    "SimulatedConfig",
    "build",
    "get_config",
    "open_split",
    "read_split",
    "record_to_example",
]
