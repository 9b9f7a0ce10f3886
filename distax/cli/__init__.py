"""Command line: one module or folder per command, each a dataclass of options with `run`."""

import os

# JAX reads this when it is imported. Without it, XLA logs a long warning for every program that it
# loads from its cache: that the program was compiled for another CPU, also if it was not.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# JAX reads this when it looks for devices; `distax.runtime.sharding` says why virtual CPU devices
# need two threads each.
os.environ.setdefault(
    "NPROC", str(max(os.cpu_count() or 1, 2 * int(os.environ.get("JAX_NUM_CPU_DEVICES", "1"))))
)
