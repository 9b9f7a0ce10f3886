"""Shared functions of the experiments: training."""

import time
from pathlib import Path

from distax.models import Model
from distax.training import checkpoints
from distax.training.config import TrainConfig
from distax.training.loop import train


def train_model(config: TrainConfig, run: Path) -> tuple[Model, float | None]:
    """Trains a model; returns the run's best model and the training time in seconds.

    A run that already holds a checkpoint is resumed; its time is unknown, so None is returned.
    """
    start, resumed = time.perf_counter(), checkpoints.holds_run(run)
    train(config, run, resume=resumed)
    model, _ = checkpoints.load_model(run)
    return model, None if resumed else time.perf_counter() - start
