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
    *("--steps", "4", "--log-every", "1", "--eval-every", "2", "--eval-images", "16"),
    *("--optimizer.learning-rate", "3e-3", "--trackers", "jsonl"),
)
"""Options of a training of a few seconds."""


@dataclass(frozen=True)
class Work:
    """A command line that is disturbed.

    Attributes:
      arguments: words after `distax`; {input} is a folder with inputs, {output} one for outputs.
      again: words of the second run, if the disturbed one left a file. Default: the same words.
      read: reads the command's files into comparable values by name. Files that are missing are
        left out; a file that is not whole raises an exception.
      partial: True if a disturbed run may leave a part of its answers for the second run.
      prepare: called in the command's process before it. Default: nothing.
    """

    arguments: tuple[str, ...]
    read: Callable[[Path], dict[str, Any]]
    again: tuple[str, ...] = ()
    partial: bool = False
    prepare: Callable[[], None] | None = None


def _read_outputs(output: Path) -> dict[str, Any]:
    """Reads files without what differs from run to run: dates and times."""
    found: dict[str, Any] = {}
    for path in _visible(output):
        content = path.read_bytes()
        if path.suffix == ".json":
            json.loads(content)
            content = re.sub(rb'"(date|seconds|images_per_second)": [^,\n]*', b"", content)
        found[path.name] = content
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


def _read_results(output: Path) -> dict[str, Any]:
    """Reads the answers to shards."""
    from distax.shards import read_results

    if not list(output.glob("results/[!.]*.parquet")):  # others are unfinished
        return {}
    return {
        name: b"".join(np.asarray(leaf).tobytes() for leaf in named_leaves(found).values())
        for name, found in read_results(output / "results")
    }


def _save_often() -> None:
    """Makes `unmix --json` save its answers after every image that saving leaves time for."""
    from distax.cli.unmix import autosave

    autosave._EVERY = 0.0


_UNMIX = ("unmix", "{input}/blobs.npy", "--checkpoint", "{input}/run")
_JSON = ("unmix", "{input}/shards", *_UNMIX[2:], "--json", "{output}/answers.json")
DATASET = "simulated_seed1_40_8_8"
WORKS = {
    "train": Work(
        ("train", "--run-dir", "{output}/run", *RUN, "--auto-resume"), _read_run, partial=True
    ),
    "build-dataset": Work(("build-dataset", DATASET, "--data-dir", "{output}"), _read_dataset),
    "unmix --json": Work(_JSON, _read_outputs, (*_JSON, "--resume"), True, _save_often),
    "unmix, other outputs": Work(
        (
            *_UNMIX,
            *("--csv", "{output}/a.csv", "--table", "{output}/a.ecsv"),
            *("--report", "{output}/a.html", "--figure", "{output}/a.png"),
        ),
        _read_outputs,
    ),
    "unmix --residual": Work(
        ("unmix", "{input}/frame.npy", "--residual", "{output}/a.npy", "--method", "refine"),
        _read_outputs,
    ),
    "unmix --fit-sensor": Work(
        ("unmix", "{input}/many.npy", "--fit-sensor", "{output}/a.toml", "--method", "refine"),
        _read_outputs,
    ),
    "unmix --output": Work(
        ("unmix", "{input}/shards", *_UNMIX[2:], "--output", "{output}/results"),
        _read_results,
        partial=True,
    ),
    "export": Work(("export", "{output}/run.distax", "--checkpoint", "{input}/run"), _read_outputs),
    "convert": Work(("convert", "{input}/run", "{output}/run.safetensors"), _read_outputs),
    "evaluate --json": Work(
        ("evaluate", "--checkpoint", "{input}/run", "--images", "16", "--json", "{output}/a.json"),
        _read_outputs,
    ),
}
"""Works by name. Several outputs of `unmix` are written by one command, one after the other."""
