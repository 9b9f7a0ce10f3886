"""Benchmarks the feeds of training on this machine: the time of a step's batch.

    python experiments/benchmarks/feeds.py --json experiments/results/feeds_cpu.json

Each time is the shortest of several repetitions. `distax benchmark` measures everything else.
"""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from distax.benchmarking.figures import describe_machine
from distax.benchmarking.timing import time_fastest
from distax.datasets import csist100k
from distax.runtime.files import write_text
from distax.runtime.sharding import data_mesh
from distax.training.config import DataConfig, TrainConfig
from distax.training.setup import make_feed

RECORDS, STEPS = 10_000, 20


@dataclass(frozen=True)
class FeedFigure:
    """One measurement: a number of images and the time in seconds."""

    name: str
    images: int
    seconds: float

    @property
    def rate(self) -> float:
        """Images per second."""
        return self.images / self.seconds


def measure(config: TrainConfig) -> Iterator[FeedFigure]:
    """Measures reading a dataset's records and each feed's time per batch."""
    with tempfile.TemporaryDirectory() as folder:
        small = csist100k.SimulatedConfig(train=RECORDS, validation=1, test=1)
        csist100k.build(small, folder)
        source = csist100k.open_split(small, "train", folder)
        seconds = time_fastest(lambda: csist100k.read_split(source), 3)
        yield FeedFigure("read dataset records", RECORDS, seconds)
        built = {"dataset": small.name, "data_dir": folder}
        for name, data in {
            "simulated": DataConfig(),
            "memory": DataConfig(**built, feed="memory"),
            "stream": DataConfig(**built, feed="stream"),
        }.items():
            feed = make_feed(replace(config, data=data), data_mesh())
            batches = feed.batches([range(step, step + 1) for step in range(10**6)])
            seconds = time_fastest(lambda b=batches: [next(b) for _ in range(STEPS)], 3) / STEPS
            yield FeedFigure(f"a step's batch, {name}", config.batch_size, seconds)


def main(json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None) -> None:
    """Benchmark the feeds.

    Args:
      json_file: JSON file to write the measurements to.
    """
    figures = list(measure(TrainConfig(batch_size=64)))
    print("| | time | rate |\n|---|---|---|")
    for figure in figures:
        name = f"{figure.name}, {figure.images:,} images"
        print(f"| {name} | {figure.seconds:.3g} s | {figure.rate:,.0f} /s |")
    if json_file:
        rows = [asdict(figure) for figure in figures]
        write_text(json_file, json.dumps(describe_machine() | {"figures": rows}, indent=2) + "\n")


if __name__ == "__main__":
    tyro.cli(main)
