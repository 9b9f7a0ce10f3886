"""What the benchmarks share: timing, and what they were timed on."""

import datetime
import platform
import time
from collections.abc import Callable
from typing import Any

import jax

import distax


def fastest(function: Callable[[], Any], repetitions: int) -> float:
    """Seconds of the fastest call after a first one that compiles."""
    jax.block_until_ready(function())
    seconds = []
    for _ in range(repetitions):
        start = time.perf_counter()
        jax.block_until_ready(function())
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def about_machine() -> dict[str, str]:
    """Date, hardware and versions."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "device": jax.devices()[0].device_kind,
        "processor": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "distax": distax.__version__,
    }
