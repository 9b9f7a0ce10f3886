"""What experiments share: timing, and where and with what results were made."""

import datetime
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

import distax
from distax.models import Model
from distax.training import checkpoints
from distax.training.config import TrainConfig
from distax.training.loop import train


def fastest(function: Callable[[], Any], repetitions: int) -> float:
    """Seconds of the fastest call after a first one that compiles."""
    jax.block_until_ready(function())
    seconds = []
    for _ in range(repetitions):
        start = time.perf_counter()
        jax.block_until_ready(function())
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def trained_here(config: TrainConfig, run: Path) -> tuple[Model, float | None]:
    """A run's best model after its training, and how many seconds that took.

    A run that was interrupted goes on; how long all of it took is not known then.
    """
    start, resumed = time.perf_counter(), checkpoints.holds_run(run)
    train(config, run, resume=resumed)
    model, _ = checkpoints.load_model(run)
    return model, None if resumed else time.perf_counter() - start


def about_machine() -> dict[str, str | int]:
    """Date, hardware and versions."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "device": jax.devices()[0].device_kind,
        "processor": _processor(),
        "cores": _cores(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "distax": distax.__version__,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # not on every system
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
