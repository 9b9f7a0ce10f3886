"""Commands that write files, what they write, and how a disturbed one is run again."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distax.runtime.pytree import named_leaves

RUN = (
    *("--model.name", "espcn", "--model.options", "window", "5", "--batch-size", "8"),
    *("--steps", "6", "--log-every", "1", "--eval-every", "2", "--eval-images", "40"),
    *("--optimizer.learning-rate", "3e-3", "--trackers", "jsonl"),
)
"""Options of a training of a few seconds."""


@dataclass(frozen=True)
class Work:
    """A command line that is disturbed.

    Attributes:
      arguments: words after `distax`; {input} is a folder with inputs, {output} one for outputs.
      read: reads the command's files into comparable values by name. Files that are missing are
        left out; a file that is not whole raises an exception.
      again: words of the second run, if the disturbed one left a file. Default: the same words.
      partial: True if a disturbed run may leave a part of its answers for the second run.
    """

    arguments: tuple[str, ...]
    read: Callable[[Path], dict[str, Any]]
    again: tuple[str, ...] = ()
    partial: bool = False


def _read_bytes(output: Path) -> dict[str, Any]:
    return {path.name: path.read_bytes() for path in _visible(output)}


def _read_texts(output: Path) -> dict[str, Any]:
    """Reads JSON and CSV files without what differs from run to run: dates and times."""
    found: dict[str, Any] = {}
    for path in _visible(output):
        text = path.read_text()
        if path.suffix == ".json":
            json.loads(text)
            text = re.sub(r'"(date|seconds|images_per_second)": [^,\n]*', "", text)
        found[path.name] = text
    return found


def _visible(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]


def _read_run(output: Path) -> dict[str, Any]:
    """Reads the parameters of a run's last and best checkpoints."""
    from flax import nnx

    from distax.training import checkpoints

    found: dict[str, Any] = {}
    for which in ("last", "best"):
        if checkpoints.holds(output / "run", which):
            model, _ = checkpoints.load_model(output / "run", which)
            for name, array in named_leaves(nnx.state(model)).items():
                found[f"{which}: {name}"] = np.asarray(array).tobytes()
    return found


def _read_dataset(output: Path) -> dict[str, Any]:
    """Reads all records of a dataset, if it was built."""
    from distax.datasets import csist100k

    if not csist100k.DATASET.folder(DATASET, output).exists():
        return {}
    found: dict[str, Any] = {}
    for split in ("train", "validation", "test"):
        source = csist100k.open_split(DATASET, split, str(output))
        images, targets = csist100k.read_split(source)
        found[split] = np.asarray(images).tobytes() + np.asarray(targets.position).tobytes()
    return found


DATASET = "simulated_seed1_400_40_40"
WORKS = {
    "train": Work(
        ("train", "--run-dir", "{output}/run", *RUN, "--auto-resume"), _read_run, partial=True
    ),
    "build-dataset": Work(("build-dataset", DATASET, "--data-dir", "{output}"), _read_dataset),
    "unmix --json": Work(
        ("unmix", "{input}/many.npy", "--json", "{output}/answers.json"),
        _read_texts,
        ("unmix", "{input}/many.npy", "--json", "{output}/answers.json", "--resume"),
        partial=True,
    ),
    "unmix --csv": Work(("unmix", "{input}/many.npy", "--csv", "{output}/t.csv"), _read_texts),
    "unmix --figure": Work(
        ("unmix", "{input}/blobs.npy", "--figure", "{output}/blobs.png"), _read_bytes
    ),
    "unmix --report": Work(
        ("unmix", "{input}/blobs.npy", "--report", "{output}/blobs.html"), _read_texts
    ),
    "export": Work(("export", "{output}/run.distax", "--checkpoint", "{input}/run"), _read_bytes),
    "convert": Work(("convert", "{input}/run", "{output}/run.safetensors"), _read_bytes),
    "evaluate --json": Work(
        ("evaluate", "--checkpoint", "{input}/run", "--images", "200", "--json", "{output}/s.json"),
        _read_texts,
    ),
}
