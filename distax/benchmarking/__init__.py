"""Speed of distax on the devices at hand."""

from distax.benchmarking.figures import (
    Figure,
    describe_machine,
    has_torch,
    ratios,
    write_figures,
)
from distax.benchmarking.parity import check_parity, check_torch
from distax.benchmarking.suite import measure
from distax.benchmarking.torch_process import TorchProcess

__all__ = [
    "Figure",
    "TorchProcess",
    "check_parity",
    "check_torch",
    "describe_machine",
    "has_torch",
    "measure",
    "ratios",
    "write_figures",
]
