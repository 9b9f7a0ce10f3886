"""Speed of distax on the devices at hand."""

from distax.benchmarking.figures import Figure, describe_machine, write_figures
from distax.benchmarking.suite import measure

__all__ = ["Figure", "describe_machine", "measure", "write_figures"]
