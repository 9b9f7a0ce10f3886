"""One measurement, how it is timed, and the machine that it was made on."""

import datetime
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax

from distax.runtime.files import write_text
from distax.runtime.version import __version__


@dataclass(frozen=True)
class Figure:
    """A measurement.

    Attributes:
      name: what was measured.
      images: images of a call.
      seconds: time of the fastest call after the first one, which compiles.
      first_seconds: time of the first call.
      flops: floating-point operations of a call, as the compiler counts them; None if unknown.
      peak_memory_bytes: largest memory in use on the device since the process began; None if the
        device does not tell, as CPUs do not.
      refused: why it was not measured; None if it was.
    """

    name: str
    images: int
    seconds: float | None = None
    first_seconds: float | None = None
    flops: float | None = None
    peak_memory_bytes: int | None = None
    refused: str | None = None

    @property
    def images_per_second(self) -> float | None:
        """Images a second."""
        return self.images / self.seconds if self.seconds else None


def time_calls(
    name: str,
    images: int,
    call: Callable[[], Any],
    repetitions: int = 3,
    flops: float | None = None,
) -> Figure:
    """Times a call: a first one that compiles, then the fastest of several."""
    first = _seconds_of(call)
    fastest = min(_seconds_of(call) for _ in range(repetitions))
    return Figure(name, images, fastest, first, flops, _peak_memory())


def time_fastest(call: Callable[[], Any], repetitions: int) -> float:
    """Returns the time in seconds of the fastest call after a first call that compiles."""
    _seconds_of(call)
    return min(_seconds_of(call) for _ in range(repetitions))


def _seconds_of(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - start


def _peak_memory() -> int | None:
    stats = jax.local_devices()[0].memory_stats() or {}
    peak = stats.get("peak_bytes_in_use")
    return None if peak is None else int(peak)


def describe_machine() -> dict[str, str | int]:
    """Returns date, hardware and versions."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "device": jax.devices()[0].device_kind,
        "devices": jax.device_count(),
        "processor": _find_processor(),
        "cores": _count_cores(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "distax": __version__,
    }


def write_figures(path: Path, figures: Sequence[Figure]) -> None:
    """Writes the machine and all measurements as JSON.

    Raises:
      DistaxError: the file cannot be written.
    """
    rows = [asdict(one) | {"images_per_second": one.images_per_second} for one in figures]
    write_text(path, json.dumps(describe_machine() | {"figures": rows}, indent=2) + "\n")


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
