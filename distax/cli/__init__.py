"""The command line: one file a command, each a dataclass of options with a `run` method."""

import os

# Read when JAX is imported. XLA calls programs that its cache keeps for a CPU unfit for that very
# CPU, at length and with every load.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Read when JAX looks for devices; see `sharding.ordered_devices`.
os.environ.setdefault(
    "NPROC", str(max(os.cpu_count() or 1, 2 * int(os.environ.get("JAX_NUM_CPU_DEVICES", 1))))
)
