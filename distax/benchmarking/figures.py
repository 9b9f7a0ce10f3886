"""One measurement, and the machine that it was made on."""

import datetime
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import jax

from distax.runtime.plain_json import write_json
from distax.runtime.version import __version__

DISTAX = "distax"


@dataclass(frozen=True)
class Figure:
    """A measurement.

    Attributes:
      name: what was measured.
      images: images of a call.
      library: what computed it: "distax", "PyTorch, eager" or "PyTorch, compiled".
      seconds: time of the fastest call after the first one, which compiles.
      first_seconds: time of preparation and the first call.
      flops: floating-point operations of a call; None if not counted.
      peak_flops: floating-point operations a second of the chip, in bfloat16; None if unknown.
      program_bytes: memory of a call, as the compiler plans it; None if unknown.
      peak_memory_bytes: largest memory in use on the device since the process began; None if the
        device does not tell, as CPUs do not.
      refused: why it was not measured; None if it was.
    """

    name: str
    images: int
    library: str = DISTAX
    seconds: float | None = None
    first_seconds: float | None = None
    flops: float | None = None
    peak_flops: float | None = None
    program_bytes: int | None = None
    peak_memory_bytes: int | None = None
    refused: str | None = None

    @property
    def images_per_second(self) -> float | None:
        """Images a second."""
        return self.images / self.seconds if self.seconds else None

    @property
    def flops_per_second(self) -> float | None:
        """Floating-point operations a second."""
        return self.flops / self.seconds if self.flops and self.seconds else None

    @property
    def utilisation(self) -> float | None:
        """Share of the chip's peak in bfloat16."""
        rate = self.flops_per_second
        return rate / self.peak_flops if rate and self.peak_flops else None


def has_torch() -> bool:
    """Returns True if PyTorch is installed."""
    return find_spec("torch") is not None


def describe_machine() -> dict[str, str | int | None]:
    """Returns date, hardware and versions; None for PyTorch where it is not installed."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "device": jax.devices()[0].device_kind,
        "devices": jax.device_count(),
        "processor": _find_processor(),
        "cores": _count_cores(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "torch": version("torch") if has_torch() else None,
        "distax": __version__,
    }


def write_figures(
    path: Path,
    machine: Mapping[str, str | int | None],
    parity: Mapping[str, float],
    figures: list[Figure],
) -> None:
    """Writes the machine, the deviations and all measurements as JSON.

    Args:
      path: the file.
      machine: date, hardware and versions; see `describe_machine`.
      parity: deviations by name; see `distax.benchmarking.parity`.
      figures: the measurements.

    Raises:
      DistaxError: the file cannot be written.
    """
    derived = ("images_per_second", "flops_per_second", "utilisation")
    rows = [asdict(one) | {name: getattr(one, name) for name in derived} for one in figures]
    content = {**machine, "parity": dict(parity), "figures": rows}
    write_json(path, content)


def ratios(figures: Sequence[Figure]) -> list[tuple[Figure, Figure, float]]:
    """Returns each figure of distax beside those of other libraries, and distax's advantage.

    The advantage is distax's images a second over the other library's.
    """
    found = []
    for ours in figures:
        for other in figures:
            same = (ours.name, ours.images) == (other.name, other.images)
            if same and ours.library == DISTAX != other.library and ours.seconds and other.seconds:
                found.append((ours, other, other.seconds / ours.seconds))
    return found


def _find_processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _count_cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # not on every system
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
