"""Benchmarks tracking: scores of all frames together beside single frames.

    python experiments/benchmarks/sequences.py --json experiments/results/sequences.json

Sequences are simulated from the default motion prior for a sensor with read noise. They are unmixed
frame by frame from raw pixels and tracked. The scores are printed as tables.
"""

import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import tyro

import distax
from distax.benchmarking.figures import describe_machine
from distax.evaluation.results import SCORE_HEADINGS, format_percent, format_pixels
from distax.imaging.targets import Targets
from distax.runtime.files import write_text
from distax.tracking import (
    MotionPrior,
    Tracker,
    assess_tracks,
    simulate,
    track,
    unmix_sequences,
)


def measure(
    unmixer: distax.Unmixer, frames: np.ndarray, truth: Targets, tracker: Tracker
) -> dict[str, Any]:
    """Unmixes, tracks and scores sequences; times the first two, compilation included."""
    start = time.perf_counter()
    found = unmix_sequences(unmixer, frames)
    unmixed = time.perf_counter()
    tracks = jax.block_until_ready(track(found, tracker))
    tracked = time.perf_counter()
    result = assess_tracks(found, tracks, truth)
    counts = np.asarray(truth.count[:, 0])
    by_count = {}
    for count in np.unique(counts).tolist():
        part = jax.tree.map(lambda leaf, own=counts == count: leaf[own], (found, tracks, truth))
        by_count[str(count)] = assess_tracks(*part).to_dict()
    return result.to_dict() | {
        "by_count": by_count,
        "unmixing_seconds": unmixed - start,
        "tracking_seconds": tracked - unmixed,
    }


def score_table(method: str, figures: dict[str, Any]) -> str:
    """Returns the scores of detections and tracks in percent, as a Markdown table."""
    headings = [method, *SCORE_HEADINGS[1:], "right count"]
    lines = [f"| {' | '.join(headings)} |", "|---" + "|--:" * (len(headings) - 1) + "|"]
    for name, key in {"frames by themselves": "single", "with tracks": "tracked"}.items():
        score = figures[key]
        values = (score["cso_map"], *score["ap"].values(), score["count_accuracy"])
        lines.append(f"| {name} | {' | '.join(map(format_percent, values))} |")
    return "\n".join(lines) + "\n"


def track_table(figures: dict[str, Any]) -> str:
    """Returns the tracks' scores by number of true targets, as a Markdown table."""
    headings = ("targets", "tracked / %", "RMSE / px", "median / px", "false tracks / %")
    lines = [f"| {' | '.join(headings)} | identity switches |", "|---" + "|--:" * 5 + "|"]
    for count, part in [*figures["by_count"].items(), ("all", figures)]:
        errors = f"{format_pixels(part['rmse'])} | {format_pixels(part['median_rmse'])}"
        lines.append(
            f"| {count} | {format_percent(part['share_tracked'])} | {errors} | "
            f"{format_percent(part['false_tracks'])} | {part['identity_switches']:.3f} |"
        )
    return "\n".join(lines) + "\n"


def main(
    methods: tuple[str, ...] = ("refine",),
    sequences: int = 200,
    read_noise: float = 2.0,
    seed: int = 10_000,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
) -> None:
    """Benchmark tracking against single frames.

    Args:
      methods: methods that unmix single frames.
      sequences: number of simulated sequences of 20 frames.
      read_noise: the sensor's read noise in counts.
      seed: random seed of the sequences.
      json_file: JSON file to write the figures to.
    """
    prior, sensor = MotionPrior(), replace(distax.Sensor(), read_noise=read_noise)
    frames, truth = simulate(jax.random.key(seed), sequences, sensor, prior)
    figures = {}
    for method in methods:
        known = None if method == "fast" else prior.frame_prior
        unmixer = distax.Unmixer(method=method, sensor=sensor, prior=known)
        figures[method] = measure(unmixer, np.asarray(frames), truth, Tracker.for_prior(prior))
        print(score_table(method, figures[method]))
        print(track_table(figures[method]))
    if json_file:
        about = describe_machine() | {
            "seed": seed,
            "read_noise": read_noise,
            "prior": asdict(prior),
        }
        write_text(json_file, json.dumps(about | {"figures": figures}, indent=2) + "\n")


if __name__ == "__main__":
    tyro.cli(main)
