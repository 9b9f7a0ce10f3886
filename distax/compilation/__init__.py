"""Programs compiled ahead of time for accelerators that are not there, and their predicted cost."""

from distax.compilation.prediction import Report, predict
from distax.compilation.programs import (
    Compiled,
    compile_evaluation,
    compile_training,
    compile_unmixing,
)
from distax.compilation.saved_steps import saved_steps
from distax.compilation.saving import (
    SavedProgram,
    SavedPrograms,
    load_programs,
    save_programs,
)
from distax.compilation.topology import Topology, open_topology

__all__ = [
    "Compiled",
    "Report",
    "SavedProgram",
    "SavedPrograms",
    "Topology",
    "compile_evaluation",
    "compile_training",
    "compile_unmixing",
    "load_programs",
    "open_topology",
    "predict",
    "save_programs",
    "saved_steps",
]
