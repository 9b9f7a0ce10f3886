"""Flags of XLA that make it compile quickly: they halve the time that most tests take."""

from importlib.metadata import version

QUICK_TO_COMPILE = "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
# Later releases do not know this flag, and XLA ends the process at an unknown one.
if version("jaxlib").startswith("0.10."):
    QUICK_TO_COMPILE += " --xla_cpu_use_fusion_emitters=false"
