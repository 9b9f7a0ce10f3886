"""Robustness: scores of the methods under conditions other than CSIST-100K's.

    python experiments/robustness.py --resume

Each sweep varies one condition and shows the Cramér–Rao bound. Every result is written at once, so
an interrupted run continues with `--resume`. `--methods` without a name measures nothing and only
writes the tables and the figure from the results.
"""

import json
import sys
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jaxtyping import Array, Float
from mode_examples import place_in_turn
from robustness_page import METHODS, Record, draw_sweeps, full_table, row
from robustness_settings import SETTINGS, Hosts, Setting

import distax
from distax.benchmarking.figures import describe_machine
from distax.evaluation import assess
from distax.imaging.forward import render
from distax.imaging.scenes import IMAGE_SHAPE, ScenePrior, sample, scene_keys
from distax.imaging.sensor import expose
from distax.imaging.targets import CREDIBLE_LEVELS, Targets
from distax.metrics import CoverageSums, LocalizationSums, assign
from distax.runtime.files import write_text

RESULTS = Path(__file__).parent / "results"


def select_scenes(setting: Setting, images: int, seed: int) -> Targets:
    """Draws scenes with the setting's host pixels; equal for equal priors and hosts."""
    per_host = {"any": 1, "edge": 6, "corner": 60}[setting.hosts]
    key = jax.random.key(seed)
    drawn = sample(key, per_host * images, setting.prior)
    if setting.in_turn:
        drawn = place_in_turn(scene_keys(key, len(drawn.mask)), drawn, setting.prior)
    chosen = np.flatnonzero(_has_host(setting.hosts, drawn, setting.prior))[:images]
    assert len(chosen) == images
    return jax.tree.map(lambda leaf: leaf[chosen], drawn)


def _has_host(hosts: Hosts, targets: Targets, prior: ScenePrior) -> np.ndarray:
    """Returns True for scenes with the host pixel, which holds all targets, at the given place."""
    mean = np.sum(targets.place, axis=1) / np.asarray(targets.count)[:, None]
    host = np.round(mean).astype(int)
    last = np.array(IMAGE_SHAPE) - 1 - prior.border
    outermost = (host == prior.border) | (host == last)
    wanted = {"any": (0, 1, 2), "edge": (1,), "corner": (2,)}[hosts]
    return np.isin(outermost.sum(axis=1), wanted)


def measure(setting: Setting, method: str, images: int, seed: int) -> Record:
    """Scores a method on images of a setting."""
    truth = select_scenes(setting, images, seed)
    pixels = expose(
        jax.random.key(seed + 1), render(truth, setting.true_sensor), setting.true_sensor
    )
    unmixer = distax.Unmixer(method=method, sensor=setting.sensor, prior=setting.prior)
    if setting.fitted:
        unmixer = unmixer.calibrated(np.asarray(pixels))
    found = jax.tree.map(jnp.asarray, unmixer(np.asarray(pixels)))
    result = assess(found, truth, setting.true_sensor, setting.prior)
    return {
        "images": images,
        "seed": seed,
        "cso_map_by_score": result.cso_map_by_score,
        "cso_map": result.cso_map,
        "within": result.within,
        "rmse": result.rmse,
        "bound": result.bound,
        "count_accuracy": result.count_accuracy,
        "coverage": result.coverage,
        "median_misfit": float(np.median(np.asarray(found.misfit))),
        **_score_trusted(found, truth),
        "by_count": result.by_count,
    }


def _score_trusted(found: Targets, truth: Targets) -> Record:
    """Scores the answers that a method marks as trusted."""
    sums, coverage = _sum_trusted(found, truth)
    some = bool(sums.images)
    return {
        "trusted": float(jnp.mean(found.trusted)),
        "trusted_count_accuracy": float(sums.count_accuracy) if some else None,
        "trusted_rmse": float(sums.rmse) if some and sums.pairs else None,
        "trusted_coverage": _name_levels(coverage) if some and sums.pairs else None,
    }


def _name_levels(coverage: Float[Array, " L"]) -> dict[str, float]:
    shares = zip(CREDIBLE_LEVELS, coverage, strict=True)
    return {f"{level:.2f}": float(share) for level, share in shares}


@jax.jit
def _sum_trusted(found: Targets, truth: Targets) -> tuple[LocalizationSums, Float[Array, " L"]]:
    pairing = assign(found, truth)
    localization = LocalizationSums.of(found, truth, pairing, found.trusted)
    return localization, CoverageSums.of(found, pairing, found.trusted).coverage


def read_results(path: Path) -> list[Record]:
    """Reads the results written so far, in the order of the settings."""
    return json.loads(path.read_text())["results"] if path.is_file() else []


def write_results(path: Path, results: Iterable[Record]) -> None:
    """Writes the latest result of each setting and method, in the order of the settings."""
    place = list(SETTINGS).index
    latest = {(place(r["setting"]), r["method"]): r for r in results}
    ordered = [latest[key] for key in sorted(latest)]
    write_text(path, json.dumps({"results": ordered}, indent=1, ensure_ascii=False) + "\n")


def _is_done(path: Path, name: str, method: str, images: int, seed: int) -> bool:
    key = (name, method, images, seed)
    return any(
        (r["setting"], r["method"], r["images"], r["seed"]) == key for r in read_results(path)
    )


def run_missing(
    path: Path, methods: Sequence[str], names: Sequence[str], images: int, seed: int, resume: bool
) -> None:
    """Measures the missing results and writes each at once."""
    for method in methods:
        for name in names:
            if resume and _is_done(path, name, method, images, seed):
                continue
            result = measure(SETTINGS[name], method, images, seed)
            command = " ".join(["python", "experiments/robustness.py", *sys.argv[1:]])
            record = {"setting": name, "method": method, **result, "command": command}
            record |= describe_machine()
            # Reads again, because another process may have written results of other settings.
            write_results(path, [*read_results(path), record])
            print(row(record), flush=True)


def main(
    images: int = 200,
    methods: tuple[str, ...] = METHODS,
    settings: tuple[str, ...] = (),
    seed: int = 1,
    json_file: Annotated[Path, tyro.conf.arg(name="json")] = RESULTS / "robustness.json",
    figures: Path = RESULTS,
    resume: bool = False,
) -> None:
    """Measure the methods, and write results, tables and figure.

    Args:
      images: number of images per setting.
      methods: methods of `distax.Unmixer`; none to draw the existing results.
      settings: names of settings. Default: all.
      seed: random seed of scenes and noise.
      json_file: JSON file of the results.
      figures: folder of `robustness.png` and `robustness.md`.
      resume: keep existing results with the same number of images and the same seed.
    """
    if unknown := set(settings) - set(SETTINGS):
        sys.exit(f"unknown settings {sorted(unknown)}; there are {', '.join(SETTINGS)}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", distax.DistaxWarning)
        run_missing(json_file, methods, settings or tuple(SETTINGS), images, seed, resume)
    results = read_results(json_file)
    write_text(figures / "robustness.md", full_table(results))
    draw_sweeps(figures / "robustness.png", results)
    print(full_table(results))


if __name__ == "__main__":
    tyro.cli(main)
