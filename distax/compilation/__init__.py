"""Programs compiled ahead of time for accelerators that are not there, and their predicted cost."""

from distax.compilation.prediction import Report, predict
from distax.compilation.programs import (
    Compiled,
    compile_evaluation,
    compile_training,
    compile_unmixing,
)
from distax.compilation.topology import Topology, open_topology

__all__ = [
    "Compiled",
    "Report",
    "Topology",
    "compile_evaluation",
    "compile_training",
    "compile_unmixing",
    "open_topology",
    "predict",
]
