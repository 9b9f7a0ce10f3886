"""How fast the core is on this machine: prints a table, and writes it as JSON on request.

    python experiments/benchmarks/core.py --json experiments/results/benchmarks_cpu.json

A figure is the best of several repetitions after compilation.
"""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import jax
import tyro
from measuring import about_machine, fastest

import distax
from distax.imaging.scenes import simulate
from distax.runtime.files import write_text
from distax.runtime.sharding import data_mesh
from distax.training.config import DataConfig, ModelConfig, TrainConfig
from distax.training.setup import build, make_feed
from distax.training.state import create_model

BATCH = 64


@dataclass(frozen=True)
class Figure:
    """One measurement: how many of what a second."""

    name: str
    amount: int
    unit: str
    seconds: float

    @property
    def rate(self) -> float:
        """Units a second."""
        return self.amount / self.seconds


def scene_simulation(config: TrainConfig) -> Figure:
    """Scenes and their images."""
    count = 100_000
    seconds = fastest(lambda: simulate(jax.random.key(1), count, config.sensor, config.prior), 2)
    return Figure("simulate scenes and images", count, "images", seconds)


def from_disk(config: TrainConfig) -> Iterator[Figure]:
    """Records read at random from a built dataset, and what each feed takes for its batches."""
    from distax.datasets import csist100k

    records, steps = 10_000, 20
    with tempfile.TemporaryDirectory() as folder:
        small = csist100k.SimulatedConfig(train=records, validation=1, test=1)
        csist100k.build(small, folder)
        source = csist100k.open_split(small, "train", folder)
        seconds = fastest(lambda: csist100k.read_split(source), 3)
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
            seconds = fastest(lambda b=batches: [next(b) for _ in range(steps)], 3) / steps
            yield Figure(f"a step's batch, {name}", BATCH, "images", seconds)


def inference(config: TrainConfig) -> Figure:
    """Images to decoded targets."""
    images, _ = simulate(jax.random.key(1), BATCH, config.sensor, config.prior)
    unmixer = distax.Unmixer(model=create_model(config), sensor=config.sensor)
    return Figure("inference", BATCH, "images", fastest(lambda: unmixer(images), 8))


def training_step(config: TrainConfig) -> Figure:
    """Gradient and optimiser step."""
    setup = build(config, data_mesh())
    (batches,) = setup.feed.batches([range(1)])
    state = setup.initial_state()

    def advance() -> Any:
        nonlocal state
        state, losses = setup.train_steps(state, batches)
        return losses

    return Figure("training step", BATCH, "images", fastest(advance, 4))


def metric(config: TrainConfig) -> Iterator[Figure]:
    """CSO-mAP of 10,000 images at five radii, exactly and by sums."""
    count = 10_000
    _, truth = simulate(jax.random.key(1), count, config.sensor, config.prior)
    grid = distax.rasterize(truth, config.sensor, config.model.factor)
    found = distax.decode(grid + jax.random.normal(jax.random.key(2), grid.shape))
    by_sums = jax.jit(lambda found, truth: distax.metrics.CsoSums.of(found, truth).value())
    for name, function in {"exact": distax.metrics.cso_map, "sums": by_sums}.items():
        seconds = fastest(lambda f=function: f(found, truth), 5)
        yield Figure(f"CSO-mAP, five radii, {name}", count, "images", seconds)


def main(json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None) -> None:
    """Measure the core's speed.

    Args:
      json_file: write the figures there.
    """
    config = TrainConfig(model=ModelConfig(factor=3))
    figures = [
        scene_simulation(config),
        *from_disk(config),
        inference(config),
        training_step(config),
        *metric(config),
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
        write_text(json_file, json.dumps(about_machine() | {"figures": rows}, indent=2) + "\n")


if __name__ == "__main__":
    tyro.cli(main)
