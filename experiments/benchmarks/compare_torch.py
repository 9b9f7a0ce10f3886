"""Compares the speed of distax with the same network in PyTorch on one machine.

    pip install -e '.[torch]'
    python experiments/benchmarks/compare_torch.py --json experiments/results/torch_cpu.json

Both use the same weights: six stages of 64 channels at c = 3. Before anything is timed, both must
compute the same grids, objective and gradients. Each time is the shortest of several repetitions.
Each candidate runs in its own process, because waiting threads of one library slow down the other.
All candidates are timed in two rounds.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import torch
import tyro
from flax import nnx
from torch_dista import TorchDista

from distax.benchmarking.figures import describe_machine, time_fastest
from distax.imaging.grid import rasterize
from distax.imaging.scenes import simulate
from distax.models import Dista
from distax.models.layers.precision import Precision
from distax.runtime.batching import inference_batch
from distax.runtime.files import write_text
from distax.runtime.sharding import data_mesh
from distax.training.config import ModelConfig, TrainConfig
from distax.training.setup import build
from distax.training.state import create_model


@dataclass(frozen=True)
class Candidate:
    """One implementation: functions to time, memory in bytes and compilation time."""

    infer: Callable[[], Any]
    train: Callable[[], Any]
    memory: int | None = None
    compile_seconds: float | None = None


def make_jax_candidate(batch: int, precision: Precision = "float32", **options: Any) -> Candidate:
    """Makes and compiles a distax model."""
    model = ModelConfig(factor=3, options=options)
    config = TrainConfig(batch_size=batch, model=model, precision=precision)
    mesh = data_mesh(jax.devices()[:1])
    graphdef, arrays = nnx.split(create_model(config))
    images, targets = simulate(jax.random.key(1), batch, config.sensor, config.prior)

    @jax.jit
    def infer(arrays: nnx.State, images: jax.Array) -> jax.Array:
        # In batches of the same size as `Unmixer` and `evaluate` use.
        parts = images.reshape(-1, min(batch, inference_batch()), *images.shape[1:])
        return jax.lax.map(nnx.merge(graphdef, arrays), parts)

    start = time.perf_counter()
    setup = build(config, mesh)
    steps = setup.train_steps
    batches = jax.tree.map(lambda leaf: leaf[None], (images, targets))
    state = setup.initial_state()
    compiled = steps.func.lower(state, batches, **steps.keywords).compile()
    seconds = time.perf_counter() - start

    def train() -> None:
        nonlocal state
        state, losses = compiled(state, batches)
        losses.block_until_ready()

    def run() -> None:
        infer(arrays, images).block_until_ready()

    analysis = compiled.memory_analysis()
    return Candidate(run, train, analysis.temp_size_in_bytes if analysis else None, seconds)


def make_torch_candidate(batch: int, compiled: bool) -> Candidate:
    """Makes the same network in PyTorch."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    config = TrainConfig(model=ModelConfig(factor=3))
    model = TorchDista(create_model(config)).to(device)
    images, targets = simulate(jax.random.key(1), batch, config.sensor, config.prior)
    grids = torch.tensor(np.asarray(rasterize(targets, config.sensor, 3))).to(device)
    images = torch.tensor(np.asarray(images)).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    forward, objective = model, model.objective
    if compiled:
        forward, objective = torch.compile(model), torch.compile(model.objective)

    def infer() -> None:
        with torch.inference_mode():
            forward(images).sum().item()

    def train() -> None:
        optimizer.zero_grad()
        loss = objective(images, grids)
        loss.backward()
        optimizer.step()
        loss.item()

    return Candidate(infer, train)


def check_equal() -> None:
    """Checks that both compute the same grids, objective and gradients from the same weights.

    Raises:
      AssertionError: the results differ.
    """
    config = TrainConfig(model=ModelConfig(factor=3, options={"stages": 2}))
    model = create_model(config)
    assert isinstance(model, Dista)
    images, targets = simulate(jax.random.key(2), 4, config.sensor, config.prior)
    grids = rasterize(targets, config.sensor, 3)
    twin = TorchDista(model)
    ours = np.asarray(model(images))
    theirs = twin(torch.tensor(np.asarray(images))).detach().numpy()
    np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-5 * np.abs(ours).max())

    loss, gradients = nnx.value_and_grad(lambda model: model.objective(images, grids))(model)
    their_loss = twin.objective(torch.tensor(np.asarray(images)), torch.tensor(np.asarray(grids)))
    their_loss.backward()
    np.testing.assert_allclose(their_loss.item(), loss, rtol=1e-5)
    for stage, twin_stage in zip(gradients["stages"].values(), twin.stages, strict=True):
        for path in ("static_transform.second", "inverse.first"):
            part, name = path.split(".")
            ours = np.asarray(stage[part][name][...]).transpose(3, 2, 0, 1)
            theirs = twin_stage[path].grad.numpy()
            np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-4 * np.abs(ours).max())


def make_candidates(batch: int) -> dict[str, Callable[[], Candidate]]:
    """Returns functions that make the candidates, by name."""
    return {
        "PyTorch, eager": partial(make_torch_candidate, batch, False),
        "PyTorch, compiled": partial(make_torch_candidate, batch, True),
        "distax": partial(make_jax_candidate, batch),
        "distax, window of 7 pixels": partial(make_jax_candidate, batch, window=7),
        "distax, bfloat16 maps": partial(make_jax_candidate, batch, "bfloat16"),
        "distax, rematerialised": partial(make_jax_candidate, batch, rematerialize=True),
    }


def measure(candidate: Candidate, batch: int, repetitions: int) -> dict[str, float | None]:
    """Measures a candidate's images per second; adds its memory and compilation time."""
    return {
        "inference": batch / time_fastest(candidate.infer, repetitions),
        "training": batch / time_fastest(candidate.train, repetitions),
        "memory": candidate.memory,
        "compile_seconds": candidate.compile_seconds,
    }


def measure_in_process(name: str, batch: int, repetitions: int) -> dict[str, float | None]:
    """Runs `measure` in a new process."""
    options = ["--only", name, "--batch", str(batch), "--repetitions", str(repetitions)]
    command = [sys.executable, __file__, *options]
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    figures: dict[str, float | None] = json.loads(answer.splitlines()[-1])
    return figures


def main(
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
    batch: int = 64,
    repetitions: int = 4,
    compiled: bool = False,
    only: str | None = None,
) -> None:
    """Compare distax with PyTorch.

    Args:
      json_file: JSON file to write the measurements to.
      batch: images per batch.
      repetitions: repetitions of each candidate per round.
      compiled: also time compiled PyTorch.
      only: measure one candidate in this process and print its measurements as JSON.
    """
    makers = make_candidates(batch)
    if only is not None:
        print(json.dumps(measure(makers[only](), batch, repetitions)))
        return
    check_equal()
    print("equal: grids, objective and gradients", flush=True)
    names = [name for name in makers if compiled or name != "PyTorch, compiled"]
    rounds = [
        {name: measure_in_process(name, batch, repetitions) for name in names} for _ in range(2)
    ]
    rows = [
        {"name": name}
        | rounds[0][name]
        | {key: max(figures[name][key] for figures in rounds) for key in ("inference", "training")}
        for name in names
    ]
    print("| | inference, images/s | training, images/s | memory of a step, MB | compile, s |")
    print("|---|--:|--:|--:|--:|")
    for row in rows:
        print(table_row(row))
    if json_file:
        about = describe_machine() | {"torch": torch.__version__, "batch": batch}
        write_text(json_file, json.dumps(about | {"figures": rows}, indent=2) + "\n")


def table_row(row: dict[str, Any]) -> str:
    """Returns a row of the table in docs/speed.md."""
    memory = "–" if row["memory"] is None else f"{row['memory'] / 1e6:,.0f}"
    seconds = "–" if row["compile_seconds"] is None else f"{row['compile_seconds']:.0f}"
    speeds = f"{row['inference']:,.0f} | {row['training']:,.0f}"
    return f"| {row['name']} | {speeds} | {memory} | {seconds} |"


if __name__ == "__main__":
    tyro.cli(main)
