"""Leaderboard: trains and scores the field's single-frame methods under one protocol.

    python experiments/leaderboard.py

The models are listed in `leaderboard.toml`. Each has a JSON file in
`experiments/results/leaderboard`. The table in docs/leaderboard.md and the figure are made from
these files. Models with a JSON file are skipped and interrupted runs are resumed, so the command
can be stopped and restarted at any time. `--models edsr focus` selects models. `--no-train` only
makes the table and the figure. `--cost` measures the cost of inference again; measure all models on
one machine without other load.
"""

import json
import math
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro
from benchmarks.measuring import train_model
from flax import nnx
from leaderboard_page import draw_scores, insert_table, table

from distax import Sensor, Targets, Unmixer, decode, rasterize, weights
from distax.benchmarking.figures import describe_machine
from distax.benchmarking.timing import time_fastest
from distax.evaluation import Evaluation, evaluate
from distax.imaging.grid import THRESHOLD
from distax.imaging.scenes import simulate
from distax.metrics import cso_map
from distax.models import GridModel, Model
from distax.models.layers.basic import parameter_count
from distax.runtime.batching import inference_batch
from distax.runtime.files import write_text
from distax.training.building import create_model
from distax.training.config import ModelConfig, OptimizerConfig, TrainConfig

HERE = Path(__file__).parent
RESULTS = HERE / "results/leaderboard"
LIMITS = HERE / "results/leaderboard_limits.json"
BLUR = 0.05
"""Blur of the labels in pixels, as in dista.toml; nearly maximises the perfect answer's score."""


@dataclass(frozen=True)
class Protocol:
    """The protocol of all models.

    Attributes:
      images: simulated training images of each model, unless its entry has another number.
      batch_size: images per step.
      warmup_steps: steps over which the learning rate rises, before it decays along a cosine.
      window: height and width in pixels of the network's window around the blob.
      test_images: number of held-out images for the scores.
    """

    images: int
    batch_size: int
    warmup_steps: int
    window: int
    test_images: int


@dataclass(frozen=True)
class Entry:
    """One model of the leaderboard.

    Attributes:
      name: name of the result file and of the run's folder.
      title: name in the table.
      family: traditional, unfolding, one-stage or super-resolution.
      model: the model's registered name.
      factor: grid nodes per pixel along each axis.
      options: options of the model's constructor.
      learning_rate: largest learning rate; None for a model without training.
      clip_norm: largest norm of the gradients; None for no limit.
      threshold: least counts of a reported node. Blurred labels need a lower one.
      images: training images. Default: the protocol's number.
      weights: name of shipped weights that are scored instead of training; None trains the model.
      published: published values of CSO-mAP in percent on the released images. Papers that repeat
        a method's training report different ones.
      shortfall: reason for a score more than a point below the published one.
    """

    name: str
    title: str
    family: str
    model: str
    factor: int = 3
    options: dict[str, Any] = field(default_factory=dict)
    learning_rate: float | None = None
    clip_norm: float | None = None
    threshold: float = THRESHOLD
    images: int | None = None
    weights: str | None = None
    published: tuple[float, ...] = ()
    shortfall: str | None = None


def read_plan(path: Path = HERE / "leaderboard.toml") -> tuple[Protocol, list[Entry]]:
    """Reads the protocol, and the models in the order of their training."""
    plan = tomllib.loads(path.read_text())
    entries = [
        Entry(
            name=name,
            published=tuple(values.pop("published", ())),
            **{"model": name} | values,
        )
        for name, values in plan["models"].items()
    ]
    return Protocol(**plan["protocol"]), entries


def make_config(entry: Entry, protocol: Protocol) -> TrainConfig:
    """Makes the configuration of a model's training run."""
    steps = math.ceil((entry.images or protocol.images) / protocol.batch_size)
    return TrainConfig(
        model=ModelConfig(entry.model, entry.factor, {"window": protocol.window} | entry.options),
        optimizer=OptimizerConfig(
            learning_rate=entry.learning_rate or 1e-3,
            warmup_steps=min(protocol.warmup_steps, steps // 5),
            decay="cosine",
            clip_norm=entry.clip_norm,
        ),
        steps=steps,
        batch_size=protocol.batch_size,
        threshold=entry.threshold,
        log_every=100,
        eval_every=max(steps // 4, 1),
        eval_images=1000,
    )


def train_and_score(entry: Entry, protocol: Protocol, folder: Path) -> dict[str, Any]:
    """Trains a model if necessary and returns its scores, size and training time."""
    config = make_config(entry, protocol)
    model, seconds = load_or_train(entry, config, folder / entry.name)
    images, truth = simulate_test_images(protocol)
    result: Evaluation = evaluate(model, images, truth, config.sensor, entry.threshold)
    return {
        **asdict(entry),
        "images": 0 if entry.learning_rate is None else config.steps * config.batch_size,
        "batch_size": config.batch_size,
        "seed": config.seed,
        "window": config.model.options["window"],
        "test_images": protocol.test_images,
        "parameters": parameter_count(model),
        "training_seconds": seconds,
        "about": describe_machine(),
        "evaluation": result.to_dict(),
    }


def load_or_train(entry: Entry, config: TrainConfig, run: Path) -> tuple[Model, float | None]:
    """Returns a trained model and its training time in seconds; None if unknown."""
    if entry.weights is not None:
        return weights.load(entry.weights)[0], None
    if entry.learning_rate is None:
        return create_model(config), 0.0
    return train_model(config, run)


def simulate_test_images(protocol: Protocol) -> tuple[jax.Array, Targets]:
    """Simulates the held-out images and their targets."""
    return simulate(jax.random.key(1), protocol.test_images)


def measure_limits(protocol: Protocol) -> dict[str, float]:
    """Measures the CSO-mAP of perfect answers on the grid and of an off-grid estimator."""
    images, truth = simulate_test_images(protocol)
    answers = {
        "the perfect answer on this grid": decode(rasterize(truth, Sensor(), 3)),
        "the perfect answer, blurred labels": decode(rasterize(truth, Sensor(), 3, BLUR)),
        "off the grid": Unmixer(method="fast")(np.asarray(images)),
    }
    return {name: float(cso_map(found, truth).mean) for name, found in answers.items()}


def measure_cost(entry: Entry, protocol: Protocol) -> dict[str, Any]:
    """Measures inference: multiply-adds per image as XLA counts them, and images per second.

    XLA counts a loop's body once, so the multiply-adds of iterative solvers are unknown.
    """
    config = make_config(entry, protocol)
    model = create_model(config)
    assert isinstance(model, GridModel)
    graph, state = nnx.split(model)

    @jax.jit
    def run(state: nnx.State, images: jax.Array) -> jax.Array:
        return nnx.merge(graph, state)(images)

    batch = inference_batch()
    images, _ = simulate(jax.random.key(1), batch)
    analysis = run.lower(state, images).cost_analysis() or {}
    seconds = time_fastest(lambda: run(state, images), 5)
    return {
        "multiply_adds": analysis["flops"] / 2 / batch if entry.learning_rate else None,
        "images_per_second": batch / seconds,
        "cost_about": describe_machine(),
    }


def main(
    models: tuple[str, ...] = (),
    folder: Path = Path("runs/leaderboard"),
    no_train: bool = False,
    cost: bool = False,
) -> None:
    """Train, score and measure models without a result, then make the table and the figure.

    Args:
      models: names of the models. Default: all.
      folder: folder of the training runs.
      no_train: skip models without a result.
      cost: measure the cost of inference again.
    """
    protocol, entries = read_plan()
    chosen = [entry for entry in entries if not models or entry.name in models]
    if unknown := set(models) - {entry.name for entry in entries}:
        raise SystemExit(f"{HERE / 'leaderboard.toml'} lists no {', '.join(sorted(unknown))}")
    for entry in chosen:
        file = RESULTS / f"{entry.name}.json"
        if not no_train and not file.exists():
            _write(file, train_and_score(entry, protocol, folder))
            jax.clear_caches()
    for entry in chosen:  # after all training, so that timing can wait for an idle machine
        file = RESULTS / f"{entry.name}.json"
        if not file.exists():
            continue
        result = json.loads(file.read_text())
        if cost or not (no_train or "cost_about" in result):
            _write(file, result | measure_cost(entry, protocol))
            jax.clear_caches()
    if not LIMITS.exists():
        write_text(
            LIMITS, json.dumps(measure_limits(protocol), indent=2, ensure_ascii=False) + "\n"
        )
    results = read_results(entries)
    insert_table(HERE.parent / "docs/leaderboard.md", table(results))
    draw_scores(RESULTS.with_suffix(".png"), results, json.loads(LIMITS.read_text()))


def read_results(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Reads the existing results, with titles and published scores from the current plan."""
    return [
        json.loads(file.read_text())
        | {"title": entry.title, "published": entry.published, "shortfall": entry.shortfall}
        for entry in entries
        if (file := RESULTS / f"{entry.name}.json").exists()
    ]


def _write(file: Path, result: dict[str, Any]) -> None:
    score = 100 * result["evaluation"]["cso_map"]
    print(f"{result['title']}: CSO-mAP {score:.2f}", flush=True)
    write_text(file, json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    tyro.cli(main)
