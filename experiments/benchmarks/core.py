"""Benchmarks the core on this machine: simulation, data, inference, training and metric.

    python experiments/benchmarks/core.py --json experiments/results/benchmarks_cpu.json

Each time is the shortest of several repetitions after compilation.
"""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import jax
import tyro

import distax
from distax.benchmarking.figures import describe_machine, time_fastest
from distax.imaging.scenes import simulate
from distax.runtime.files import write_text
from distax.runtime.sharding import data_mesh
from distax.training.config import DataConfig, ModelConfig, TrainConfig
from distax.training.setup import build, make_feed
from distax.training.state import create_model

BATCH = 64


@dataclass(frozen=True)
class Figure:
    """One measurement: an amount of units and the time in seconds."""

    name: str
    amount: int
    unit: str
    seconds: float

    @property
    def rate(self) -> float:
        """Units per second."""
        return self.amount / self.seconds


def measure_simulation(config: TrainConfig) -> Figure:
    """Measures the simulation of scenes and images."""
    count = 100_000
    seconds = time_fastest(
        lambda: simulate(jax.random.key(1), count, config.sensor, config.prior), 2
    )
    return Figure("simulate scenes and images", count, "images", seconds)


def measure_feeds(config: TrainConfig) -> Iterator[Figure]:
    """Measures reading a dataset's records and each feed's time per batch."""
    from distax.datasets import csist100k

    records, steps = 10_000, 20
    with tempfile.TemporaryDirectory() as folder:
        small = csist100k.SimulatedConfig(train=records, validation=1, test=1)
        csist100k.build(small, folder)
        source = csist100k.open_split(small, "train", folder)
        seconds = time_fastest(lambda: csist100k.read_split(source), 3)
        yield Figure("read dataset records", records, "images", seconds)
        built = {"dataset": small.name, "data_dir": folder}
        for name, data in {
            "simulated": DataConfig(),
            "memory": DataConfig(**built, feed="memory"),
            "stream": DataConfig(**built, feed="stream"),
        }.items():
            feed = make_feed(replace(config, data=data), data_mesh())
            spans = [range(step, step + 1) for step in range(10**6)]
            batches = feed.batches(spans)
            seconds = time_fastest(lambda b=batches: [next(b) for _ in range(steps)], 3) / steps
            yield Figure(f"a step's batch, {name}", BATCH, "images", seconds)


def measure_inference(config: TrainConfig) -> Figure:
    """Measures inference from images to decoded targets."""
    images, _ = simulate(jax.random.key(1), BATCH, config.sensor, config.prior)
    unmixer = distax.Unmixer(model=create_model(config), sensor=config.sensor)
    return Figure("inference", BATCH, "images", time_fastest(lambda: unmixer(images), 8))


def measure_training_step(config: TrainConfig) -> Figure:
    """Measures a training step: gradient and optimiser."""
    setup = build(config, data_mesh())
    (batches,) = setup.feed.batches([range(1)])
    state = setup.initial_state()

    def advance() -> Any:
        nonlocal state
        state, losses = setup.train_steps(state, batches)
        return losses

    return Figure("training step", BATCH, "images", time_fastest(advance, 4))


def measure_metric(config: TrainConfig) -> Iterator[Figure]:
    """Measures CSO-mAP of 10,000 images at five radii, exactly and by sums."""
    count = 10_000
    _, truth = simulate(jax.random.key(1), count, config.sensor, config.prior)
    grid = distax.rasterize(truth, config.sensor, config.model.factor)
    found = distax.decode(grid + jax.random.normal(jax.random.key(2), grid.shape))
    by_sums = jax.jit(lambda found, truth: distax.metrics.CsoSums.of(found, truth).value())
    for name, function in {"exact": distax.metrics.cso_map, "sums": by_sums}.items():
        seconds = time_fastest(lambda f=function: f(found, truth), 5)
        yield Figure(f"CSO-mAP, five radii, {name}", count, "images", seconds)


def main(json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None) -> None:
    """Benchmark the core.

    Args:
      json_file: JSON file to write the measurements to.
    """
    config = TrainConfig(model=ModelConfig(factor=3))
    figures = [
        measure_simulation(config),
        *measure_feeds(config),
        measure_inference(config),
        measure_training_step(config),
        *measure_metric(config),
    ]
    print("| | time | rate |\n|---|---|---|")
    for figure in figures:
        amount = f"{figure.amount:,} {figure.unit}"
        print(f"| {figure.name}, {amount} | {figure.seconds:.3g} s | {figure.rate:,.0f} /s |")
    if json_file:
        rows = [
            {"name": f.name, "amount": f.amount, "unit": f.unit, "seconds": f.seconds}
            for f in figures
        ]
        write_text(json_file, json.dumps(describe_machine() | {"figures": rows}, indent=2) + "\n")


if __name__ == "__main__":
    tyro.cli(main)
