"""Benchmarks the estimators: speed on this machine and scores.

    python experiments/benchmarks/estimators.py --json experiments/results/estimators_cpu.json

Every estimator unmixes the same simulated test images from raw pixels, with unknown count and host
pixel. Rates are from images to targets, after compilation.
"""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import jax
import numpy as np
import tyro

import distax
from distax.benchmarking.figures import describe_machine
from distax.benchmarking.timing import time_fastest
from distax.evaluation import assess
from distax.evaluation.results import format_percent
from distax.fitting.estimators import FastFit
from distax.fitting.sampler import QUICK
from distax.imaging.scenes import simulate
from distax.imaging.targets import Targets
from distax.runtime.files import write_text

_IMAGES_PER_COUNT = 64


@dataclass(frozen=True)
class Figure:
    """One estimator's speed and score.

    Attributes:
      images_per_second: rate for images with all numbers of targets.
      by_score, by_intensity: CSO-mAP ranked by the estimator's score and by intensity.
      ap05: average precision at 0.05 px, ranked by the estimator's score.
      milliseconds: time per image by number of targets.
    """

    name: str
    images: int
    images_per_second: float
    by_score: float
    by_intensity: float
    ap05: float
    count_accuracy: float
    coverage: dict[str, float]
    milliseconds: dict[str, float]


def measure(name: str, unmixer: distax.Unmixer, images: np.ndarray, truth: Targets) -> Figure:
    """Times an unmixer on all images and on some of each count, and scores it."""
    counts = np.asarray(truth.count)
    groups = {count: images[counts == count][:_IMAGES_PER_COUNT] for count in np.unique(counts)}
    unmixer(np.concatenate(list(groups.values())))
    start = time.perf_counter()
    found = unmixer(images)
    seconds = time.perf_counter() - start
    result = assess(found, truth, unmixer.sensor, unmixer.prior)
    return Figure(
        name=name,
        images=len(images),
        images_per_second=len(images) / seconds,
        by_score=result.cso_map_by_score,
        by_intensity=result.cso_map,
        ap05=result.ap_by_score["0.05"],
        count_accuracy=result.count_accuracy,
        coverage=dict(result.coverage or {}),
        milliseconds={
            str(count): 1e3 * time_fastest(lambda group=group: unmixer(group), 1) / len(group)
            for count, group in groups.items()
        },
    )


def print_table(figures: list[Figure]) -> None:
    """Prints speed and scores as a Markdown table, and the times by number of targets."""
    header = ["", "images/s", "CSO-mAP", "AP-05", "CSO-mAP by intensity", "right count"]
    print("| " + " | ".join(header) + " |\n|" + "---|" * len(header))
    for figure in figures:
        scores = (figure.by_score, figure.ap05, figure.by_intensity, figure.count_accuracy)
        cells = " | ".join(map(format_percent, scores))
        print(f"| {figure.name} | {figure.images_per_second:,.0f} | {cells} |")
    for figure in figures:
        times = ", ".join(f"{count}: {time:.3g}" for count, time in figure.milliseconds.items())
        print(f"{figure.name}: milliseconds an image by number of targets {times}")


def main(
    images: int = 1000,
    seed: int = 10_000,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
) -> None:
    """Benchmark the estimators.

    Args:
      images: number of simulated test images.
      seed: random seed of the images.
      json_file: JSON file to write the measurements to.
    """
    pixels, truth = simulate(jax.random.key(seed), images)
    unmixers = {
        "fast": distax.Unmixer(method="fast"),
        "fast, any camera": distax.Unmixer(method=FastFit()),
        "refine": distax.Unmixer(method="refine"),
        "posterior": distax.Unmixer(method="posterior"),
        "posterior, quick": distax.Unmixer(method="posterior", effort=QUICK),
    }
    figures = [measure(name, unmixers[name], np.asarray(pixels), truth) for name in unmixers]
    print_table(figures)
    if json_file:
        about = describe_machine() | {"images": images, "seed": seed}
        rows = [asdict(figure) for figure in figures]
        write_text(json_file, json.dumps(about | {"figures": rows}, indent=2) + "\n")


if __name__ == "__main__":
    tyro.cli(main)
