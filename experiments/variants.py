"""Scores variants of the quickstart's model.

The variants are: whole images; a window of 7 pixels; and bfloat16 feature maps, trained so or
converted after the training.

    python experiments/variants.py --json experiments/results/variants.json

Takes a quarter of an hour on two CPU cores. Runs are kept in `runs/variants` and resumed. All
variants are scored on the same 10,000 held-out images.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import jax
import tyro
from benchmarks.measuring import train_model
from flax import nnx

from distax.benchmarking.figures import describe_machine
from distax.cli.quickstart import CONFIG
from distax.evaluation import Evaluation, evaluate
from distax.imaging.scenes import simulate
from distax.models import Model
from distax.runtime.files import write_text
from distax.training.building import abstract_model
from distax.training.config import TrainConfig

_WHOLE = {name: value for name, value in CONFIG.model.options.items() if name != "window"}
"""Options of the quickstart's model on whole images."""

VARIANTS: dict[str, TrainConfig] = {
    "float32, whole image": replace(CONFIG, model=replace(CONFIG.model, options=_WHOLE)),
    "window of 7 pixels": replace(
        CONFIG, model=replace(CONFIG.model, options=_WHOLE | {"window": 7})
    ),
    "bfloat16 maps": replace(
        CONFIG, model=replace(CONFIG.model, options=_WHOLE), precision="bfloat16"
    ),
}


def train_variant(name: str, folder: Path, steps: int) -> tuple[Model, float | None]:
    """Trains a variant.

    Returns:
      Its best model, and the training time in seconds; None for a run that was resumed.
    """
    config = replace(VARIANTS[name], steps=steps)
    run = folder / name.replace(" ", "_").replace(",", "")
    return train_model(config, run)


def convert_to_bfloat16(model: Model) -> Model:
    """Converts a model trained in float32 to bfloat16 feature maps."""
    rounded = abstract_model(VARIANTS["bfloat16 maps"])
    return nnx.merge(nnx.graphdef(rounded), nnx.state(model))


def main(
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
    folder: Path = Path("runs/variants"),
    steps: int = CONFIG.steps,
    images: int = 10_000,
) -> None:
    """Train and score the variants.

    Args:
      json_file: JSON file to write the scores to.
      folder: folder of the runs.
      steps: training steps per variant.
      images: number of held-out images.
    """
    data = simulate(jax.random.key(1), images, CONFIG.sensor, CONFIG.prior)

    def row(name: str, model: Model, seconds: float | None) -> dict[str, object]:
        result: Evaluation = evaluate(model, *data, CONFIG.sensor)
        scores = {"cso_map": result.cso_map, "ap": result.ap, "psnr": result.psnr}
        print(f"{name}: CSO-mAP {100 * result.cso_map:.2f}, PSNR {result.psnr:.2f} dB", flush=True)
        return {"name": name, "training_seconds": seconds} | scores

    rows = []
    for name in VARIANTS:
        model, seconds = train_variant(name, folder, steps)
        rows.append(row(name, model, seconds))
        if name == "float32, whole image":
            rows.append(row("… the same weights, bfloat16 maps", convert_to_bfloat16(model), None))
        jax.clear_caches()
    if json_file:
        about = describe_machine() | {"steps": steps, "images": images}
        write_text(json_file, json.dumps(about | {"figures": rows}, indent=2) + "\n")


if __name__ == "__main__":
    tyro.cli(main)
