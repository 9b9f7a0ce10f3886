"""Compiles every model for a TPU that is not there, and predicts memory, traffic and images/s.

    python experiments/benchmarks/tpu_programs.py

The first table has a training step and an inference of each model, the second the training of
DISTA-Net on slices of 4 to 512 chips. The figures are upper bounds that the compiled programs set;
none was measured on a chip. It takes an hour on one core, and goes on where it was stopped.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro

from distax.compilation import compile_training, compile_unmixing, open_topology, predict
from distax.compilation.methods import trace_method, trace_model
from distax.models import registry
from distax.runtime.errors import DistaxError
from distax.runtime.files import write_text
from distax.training.building import abstract_model
from distax.training.config import ModelConfig, TrainConfig, read_toml
from distax.unmixer import Unmixer

ROOT = Path(__file__).parents[2]
SLICES = ("v5e:2x2", "v5e:4x4", "v5e:8x8", "v5e:16x16", "2xv5e:16x16")
FOR_TPUS = "dista, window 7, bfloat16"
FAST = "fast"
REFINE = "refine"


@dataclass(frozen=True)
class TpuPrograms:
    """Compile the programs and write their figures.

    Attributes:
      topology: chips of the first table.
      json: JSON file of the figures.
      only: names of rows. Default: all.
    """

    topology: str = "v5e:2x2"
    json: Path = ROOT / "experiments/results/tpu_programs.json"
    only: tuple[str, ...] = ()


def main(options: TpuPrograms) -> None:
    """Compiles what is missing in the JSON file, and prints the tables."""
    done = json.loads(options.json.read_text())["rows"] if options.json.exists() else []
    finished = {(row["name"], row["what"], row["topology"]) for row in done}
    for name, what, topology in _wanted(options.topology):
        chosen = not options.only or name in options.only
        if chosen and (name, what, topology) not in finished:
            figures = _figures(name, what, topology)
            done.append({"name": name, "what": what, "topology": topology, **figures})
            write_text(options.json, json.dumps({"rows": done}, indent=1) + "\n")
            print(f"{name}, {what}, {topology}: {figures.get('refused', 'done')}", flush=True)
    print(_zoo([row for row in done if row["topology"] == options.topology]))
    print(_scaling([row for row in done if row["name"] == FOR_TPUS and row["what"] == "train"]))


def _wanted(topology: str) -> Iterator[tuple[str, str, str]]:
    for name in (FOR_TPUS, "dista", FAST, REFINE):
        if name not in (FAST, REFINE):
            yield name, "train", topology
        yield name, "unmix", topology
    for slice_ in SLICES[1:]:
        yield FOR_TPUS, "train", slice_
    for name in registry.names():
        if name not in {*registry.classical(), *registry.of_sequences(), "dista"}:
            yield name, "train", topology
        yield name, "unmix", topology


def _figures(name: str, what: str, topology: str) -> dict[str, Any]:
    chips = open_topology(topology)
    config = _config(name)
    try:
        if what == "train":
            compiled = compile_training(replace(config, steps_per_dispatch=1), chips)
        elif name in (FAST, REFINE):
            unmixer = Unmixer(method=name)
            method = trace_method(unmixer.estimator, unmixer.sensor, unmixer.prior)
            compiled = compile_unmixing(method, config.sensor.shape, chips)
        else:
            method = trace_model(abstract_model(config))
            compiled = compile_unmixing(method, config.sensor.shape, chips)
    except DistaxError as error:
        return {"refused": str(error)}
    return predict(compiled, chips).to_dict()


def _config(name: str) -> TrainConfig:
    if name == FOR_TPUS:
        return read_toml(ROOT / "experiments/dista_tpu.toml")
    model = "dista" if name in (FAST, REFINE) else name
    return TrainConfig(model=ModelConfig(name=model), batch_size=64)


def _zoo(rows: list[dict[str, Any]]) -> str:
    """Writes the table of the models: training, then inference."""
    names = list(dict.fromkeys(row["name"] for row in rows))
    cells = {(row["name"], row["what"]): row for row in rows}
    lines = [
        (
            "| | train: memory / MB | GFLOP | HBM traffic / GB | program / MB | compiling / s | "
            "images/s | unmix: memory / MB | images/s |"
        ),
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name in names:
        train, unmix = (cells.get((name, what)) for what in ("train", "unmix"))
        lines.append(f"| {name} | {_training_cells(train)} | {_inference_cells(unmix)} |")
    return "\n".join(lines) + "\n"


def _training_cells(row: dict[str, Any] | None) -> str:
    if row is None or "refused" in row:
        return " | ".join(["not trained" if row is None else "refused"] + ["–"] * 5)
    step = row["programs"][1]
    return " | ".join(
        [
            f"{_memory(row) / 1e6:,.0f}",
            f"{step['flops'] / 1e9:,.0f}",
            f"{step['memory_bytes_accessed'] / 1e9:.2f}",
            f"{step['program_bytes'] / 1e6:.0f}",
            f"{row['compile_seconds']:.0f}",
            f"{row['predicted_images_per_second']['per_chip']:,.0f}",
        ]
    )


def _inference_cells(row: dict[str, Any] | None) -> str:
    if row is None or "refused" in row:
        return "refused | –"
    speed = row["predicted_images_per_second"]["per_chip"]
    return f"{_memory(row) / 1e6:,.0f} | {speed:,.0f}"


def _memory(row: dict[str, Any]) -> int:
    kinds = ("argument_bytes", "temporary_bytes", "output_bytes", "program_bytes")
    return max(sum(program[kind] for kind in kinds) for program in row["programs"])


def _scaling(rows: list[dict[str, Any]]) -> str:
    """Writes the table of DISTA-Net's training by the number of chips."""
    lines = [
        "| chips | images a step | interconnect / ms a step | images/s | efficiency / % |",
        "|--:|--:|--:|--:|--:|",
    ]
    for row in sorted(rows, key=lambda row: row["chips"]):
        between = sum(program["seconds"]["interconnect"] for program in row["programs"])
        lines.append(
            f"| {row['chips']} | {row['images_per_call']:,} | {1e3 * between:.3f} | "
            f"{row['predicted_images_per_second']['all']:,.0f} | {100 * row['efficiency']:.1f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main(tyro.cli(TpuPrograms))
