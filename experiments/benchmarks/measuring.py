"""Shared functions of the experiments: timing and training."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

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
