"""`distax benchmark`: measures the speed of distax on the devices at hand."""

import os
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from distax.cli.options import OutputPath
from distax.runtime.errors import DistaxError, check_positive

if TYPE_CHECKING:
    from distax.benchmarking import Figure


@dataclass(frozen=True)
class Benchmark:
    """Measure simulation, training, inference, the methods and CSO-mAP on this machine.

    DISTA-Net has six stages of 64 channels and three nodes a pixel. Its outputs are first compared
    with those of the CPU and of PyTorch. If PyTorch is installed, the same network in PyTorch is
    timed in turn with distax. The first call, which compiles, is not timed. The time of the fastest
    of the others is given.

    Attributes:
      batches: Batch sizes of DISTA-Net.
      minutes: Time after which no further measurement begins.
      torch: Also measure PyTorch, if it is installed.
      json: JSON file for the figures.
    """

    batches: tuple[int, ...] = (64, 1024, 8192, 65_536)
    minutes: float = 9.0
    torch: bool = True
    json: OutputPath = None

    def run(self) -> None:
        """Measures, and prints a line for each figure.

        Raises:
          DistaxError: the results of the device or of PyTorch differ from distax's on the CPU; the
            file cannot be written.
        """
        # PyTorch's process needs memory on the same device. Set before JAX starts its devices.
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        from distax.benchmarking import (
            TorchProcess,
            check_parity,
            check_torch,
            describe_machine,
            has_torch,
            measure,
            ratios,
            write_figures,
        )
        from distax.runtime.files import check_outputs

        check_outputs({"--json": self.json}, ())
        check_positive(minutes=self.minutes)
        if not self.batches:
            raise DistaxError("--batches needs a batch size")
        for batch in self.batches:
            check_positive(batches=batch)
        machine = describe_machine()
        print(f"{machine['device']}, {machine['cores']} CPU cores, JAX {machine['jax']}")
        figures: list[Figure] = []
        with ExitStack() as stack:
            parity, torch = check_parity(), None
            if self.torch and has_torch():
                torch = stack.enter_context(TorchProcess())
                parity |= check_torch(torch)
            elif self.torch:
                print("PyTorch is not installed: pip install 'distax[torch]' for a comparison")
            for name, deviation in parity.items():
                print(f"parity, {name}: differences up to {deviation:.1e}")
            for figure in measure(torch, self.batches, 60 * self.minutes):
                figures.append(figure)
                print(_line(figure), flush=True)
                if self.json:
                    write_figures(self.json, machine, parity, figures)
        for ours, theirs, advantage in ratios(figures):
            print(f"{ours.name}, {ours.images:,} images: {advantage:.2f} times {theirs.library}")


def _line(figure: "Figure") -> str:
    start = f"{figure.name}, {figure.images:,} images, {figure.library}: "
    if figure.seconds is None:
        return f"{start}not measured ({figure.refused})"
    parts = [f"{figure.images_per_second:,.0f} images/s", f"{1e3 * figure.seconds:,.1f} ms"]
    if figure.flops_per_second:
        parts.append(f"{figure.flops_per_second / 1e12:.2f} TFLOP/s")
    if figure.utilisation:
        parts.append(f"{100 * figure.utilisation:.1f}% of the peak")
    if figure.program_bytes:
        parts.append(f"{figure.program_bytes / 1e9:.2f} GB planned")
    if figure.peak_memory_bytes:
        parts.append(f"{figure.peak_memory_bytes / 1e9:.2f} GB at most so far")
    return start + ", ".join(parts)
