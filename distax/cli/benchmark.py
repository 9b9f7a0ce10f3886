"""`distax benchmark`: measures the speed of distax on the devices at hand."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from distax.cli.options import OutputPath
from distax.runtime.errors import check_positive

if TYPE_CHECKING:
    from distax.benchmarking import Figure


@dataclass(frozen=True)
class Benchmark:
    """Measure simulation, training, inference, the methods and CSO-mAP on this machine.

    DISTA-Net has six stages of 64 channels and three nodes a pixel. Its answers are first compared
    with those of the CPU. Each time is that of the fastest call after the first, which compiles.

    Attributes:
      batches: Batch sizes of DISTA-Net.
      minutes: Time after which no further measurement begins.
      json: JSON file for the figures.
    """

    batches: tuple[int, ...] = (64, 1024, 8192, 65_536)
    minutes: float = 9.0
    json: OutputPath = None

    def run(self) -> None:
        """Measures, and prints a line for each figure.

        Raises:
          DistaxError: the device computes otherwise than the CPU; the file cannot be written.
        """
        from distax.benchmarking import describe_machine, measure, write_figures
        from distax.benchmarking.suite import check_parity
        from distax.runtime.files import check_outputs

        check_outputs({"--json": self.json}, ())
        check_positive(minutes=self.minutes)
        for batch in self.batches:
            check_positive(batches=batch)
        machine = describe_machine()
        print(f"{machine['device']}, {machine['cores']} CPU cores, JAX {machine['jax']}")
        print(
            f"parity with the CPU: differences up to {check_parity():.1e} of the brightest node\n"
        )
        figures = []
        for figure in measure(self.batches, 60 * self.minutes):
            figures.append(figure)
            print(_line(figure), flush=True)
            if self.json:
                write_figures(Path(self.json), figures)


def _line(figure: "Figure") -> str:
    start = f"{figure.name}, {figure.images:,} images: "
    if figure.seconds is None:
        return f"{start}not measured ({figure.refused})"
    parts = [f"{figure.images_per_second:,.0f} images/s", f"{1e3 * figure.seconds:,.1f} ms"]
    if figure.flops:
        parts.append(f"{figure.flops / figure.seconds / 1e12:.2f} TFLOP/s")
    if figure.peak_memory_bytes:
        parts.append(f"memory so far up to {figure.peak_memory_bytes / 1e9:.2f} GB")
    return start + ", ".join(parts)
