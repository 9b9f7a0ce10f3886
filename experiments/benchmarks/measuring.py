"""Shared functions of the experiments: timing, training and the machine's description."""

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


def time_fastest(function: Callable[[], Any], repetitions: int) -> float:
    """Returns the time in seconds of the fastest call after a first call that compiles."""
    jax.block_until_ready(function())
    seconds = []
    for _ in range(repetitions):
        start = time.perf_counter()
        jax.block_until_ready(function())
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def train_model(config: TrainConfig, run: Path) -> tuple[Model, float | None]:
    """Trains a model; returns the run's best model and the training time in seconds.

    A run that already holds a checkpoint is resumed; its time is unknown, so None is returned.
    """
    start, resumed = time.perf_counter(), checkpoints.holds_run(run)
    train(config, run, resume=resumed)
    model, _ = checkpoints.load_model(run)
    return model, None if resumed else time.perf_counter() - start


def describe_machine() -> dict[str, str | int]:
    """Returns date, hardware and versions."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "device": jax.devices()[0].device_kind,
        "processor": _find_processor(),
        "cores": _count_cores(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "distax": distax.__version__,
    }


def _find_processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _count_cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # not on every system
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
