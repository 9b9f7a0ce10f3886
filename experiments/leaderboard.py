"""Every single-frame method of the field under one protocol, on one table.

    python experiments/leaderboard.py

trains and scores the models that `leaderboard.toml` lists. It writes one JSON file for each model
to `experiments/results/leaderboard`, and from those the table in docs/leaderboard.md and the
figure. Models that have a JSON file are left alone, and an interrupted run continues where it was,
so the command can be stopped and started at any time. `--models edsr focus` takes only those;
`--no-train` only makes the table and the figure again; `--cost` measures the cost of inference
again, which must be on one quiet machine for all of them.
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
from benchmarks.measuring import about_machine, fastest, trained_here
from flax import nnx
from leaderboard_page import draw_scores, insert_table

from distax import Sensor, Targets, Unmixer, decode, rasterize, weights
from distax.evaluation import Evaluation, evaluate
from distax.imaging.grid import THRESHOLD
from distax.imaging.scenes import simulate
from distax.metrics import cso_map
from distax.models import GridModel, Model
from distax.models.layers.basic import parameter_count
from distax.runtime.batching import inference_batch
from distax.runtime.files import write_text
from distax.training.config import ModelConfig, OptimizerConfig, TrainConfig
from distax.training.state import create_model

HERE = Path(__file__).parent
RESULTS = HERE / "results/leaderboard"
LIMITS = HERE / "results/leaderboard_limits.json"
BLUR = 0.05  # px; that of the labels in dista.toml, near the best for a perfect answer


@dataclass(frozen=True)
class Protocol:
    """What holds for all models.

    Attributes:
      images: simulated training images each sees, unless its entry says fewer.
      batch_size: images a step.
      warmup_steps: over which Adam's learning rate rises, before it falls along a cosine.
      window: pixels along each axis that a network sees around the blob.
      test_images: held-out images they are all scored on.
    """

    images: int
    batch_size: int
    warmup_steps: int
    window: int
    test_images: int


@dataclass(frozen=True)
class Entry:
    """One model on the table.

    Attributes:
      name: names its result file and its run.
      title: as the table says it.
      family: traditional, unfolding, one-stage or super-resolution.
      model: as registered.
      factor: grid nodes per pixel along each axis.
      options: of its constructor.
      learning_rate: the largest; None for what is not trained.
      clip_norm: the largest norm of the gradients, where there is a limit.
      threshold: counts a node needs to be reported; labels that are spread leave less in each.
      images: training images, where the protocol's are not affordable or not enough.
      weights: that come with distax, scored as they are instead of a training here.
      published: CSO-mAP in percent on the released images, where it is known.
      shortfall: why the score is more than a point below the published one, where it is.
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
    published: float | None = None
    shortfall: str | None = None


def read_plan(path: Path = HERE / "leaderboard.toml") -> tuple[Protocol, list[Entry]]:
    """The protocol and the models in the order in which they are trained."""
    plan = tomllib.loads(path.read_text())
    entries = [
        Entry(name=name, **{"model": name} | values) for name, values in plan["models"].items()
    ]
    return Protocol(**plan["protocol"]), entries


def config_of(entry: Entry, protocol: Protocol) -> TrainConfig:
    """The training run of a model."""
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


def scored(entry: Entry, protocol: Protocol, folder: Path) -> dict[str, Any]:
    """A model's score after its training, and what it took."""
    config = config_of(entry, protocol)
    model, seconds = trained(entry, config, folder / entry.name)
    images, truth = test_scenes(protocol)
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
        "about": about_machine(),
        "evaluation": result.to_dict(),
    }


def trained(entry: Entry, config: TrainConfig, run: Path) -> tuple[Model, float | None]:
    """A model ready to be scored, and how many seconds its training took, where that is known."""
    if entry.weights is not None:
        return weights.load(entry.weights)[0], None
    if entry.learning_rate is None:
        return create_model(config), 0.0
    return trained_here(config, run)


def test_scenes(protocol: Protocol) -> tuple[jax.Array, Targets]:
    """What everything is scored on."""
    return simulate(jax.random.key(1), protocol.test_images)


def limits(protocol: Protocol) -> dict[str, float]:
    """CSO-mAP on the same images of what the grid allows, and of an estimator without one."""
    images, truth = test_scenes(protocol)
    answers = {
        "the perfect answer on this grid": decode(rasterize(truth, Sensor(), 3)),
        "… whose nodes tell the distance": decode(rasterize(truth, Sensor(), 3, BLUR)),
        "off the grid": Unmixer(method="fast")(np.asarray(images)),
    }
    return {name: float(cso_map(found, truth).mean) for name, found in answers.items()}


def measured_cost(entry: Entry, protocol: Protocol) -> dict[str, Any]:
    """Multiply-adds of an image as XLA counts them, and images a second here; both of inference.

    XLA counts the body of a loop once, so that a solver's number is not known.
    """
    config = config_of(entry, protocol)
    model = create_model(config)
    assert isinstance(model, GridModel)
    graph, state = nnx.split(model)

    @jax.jit
    def run(state: nnx.State, images: jax.Array) -> jax.Array:
        return nnx.merge(graph, state)(images)

    batch = inference_batch()
    images, _ = simulate(jax.random.key(1), batch)
    analysis = run.lower(state, images).cost_analysis() or {}
    seconds = fastest(lambda: run(state, images), 5)
    return {
        "multiply_adds": analysis["flops"] / 2 / batch if entry.learning_rate else None,
        "images_per_second": batch / seconds,
        "cost_about": about_machine(),
    }


def main(
    models: tuple[str, ...] = (),
    folder: Path = Path("runs/leaderboard"),
    no_train: bool = False,
    cost: bool = False,
) -> None:
    """Train, score and measure what has no result yet, then make the table and the figure.

    Args:
      models: only these.
      folder: keep the runs there.
      no_train: leave out what has no result yet.
      cost: measure the costs of inference even where they are known.
    """
    protocol, entries = read_plan()
    chosen = [entry for entry in entries if not models or entry.name in models]
    if unknown := set(models) - {entry.name for entry in entries}:
        raise SystemExit(f"{HERE / 'leaderboard.toml'} lists no {', '.join(sorted(unknown))}")
    for entry in chosen:
        file = RESULTS / f"{entry.name}.json"
        if not no_train and not file.exists():
            _write(file, scored(entry, protocol, folder))
            jax.clear_caches()
    for entry in chosen:  # apart from training, so that a shared machine can be quiet for it
        file = RESULTS / f"{entry.name}.json"
        if not file.exists():
            continue
        result = json.loads(file.read_text())
        if cost or not (no_train or "cost_about" in result):
            _write(file, result | measured_cost(entry, protocol))
            jax.clear_caches()
    if not LIMITS.exists():
        write_text(LIMITS, json.dumps(limits(protocol), indent=2, ensure_ascii=False) + "\n")
    results = read_results(entries)
    insert_table(HERE.parent / "docs/leaderboard.md", results)
    draw_scores(RESULTS.with_suffix(".png"), results, json.loads(LIMITS.read_text()))


def read_results(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """The results there are, presented as the plan says today."""
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
