"""How answers hold up away from CSIST-100K's conditions: sweeps, each with its bound beside it.

    python experiments/robustness.py --resume

A result is written as soon as it is there, so an interrupted run goes on with `--resume`. The
tables are made from the results alone: `--methods` without a name measures nothing and only
writes tables and figure anew.
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
from benchmarks.measuring import about_machine
from jaxtyping import Array, Float
from robustness_page import METHODS, Record, draw, full_table, row
from robustness_settings import SETTINGS, Hosts, Setting

import distax
from distax.evaluation import assess
from distax.imaging.scenes import ScenePrior, sample
from distax.imaging.sensor import expose, render
from distax.imaging.targets import CREDIBLE_LEVELS, Targets
from distax.metrics import CoverageSums, LocalizationSums, assign
from distax.runtime.files import write_text

RESULTS = Path(__file__).parent / "results"


def scenes(setting: Setting, images: int, seed: int) -> Targets:
    """The same scenes for all settings of one prior, as far as the hosts allow."""
    per_host = {"any": 1, "edge": 6, "corner": 60}[setting.hosts]
    drawn = sample(jax.random.key(seed), per_host * images, setting.prior)
    chosen = np.flatnonzero(_is_host(setting.hosts, drawn, setting.prior))[:images]
    assert len(chosen) == images
    return jax.tree.map(lambda leaf: leaf[chosen], drawn)


def _is_host(hosts: Hosts, targets: Targets, prior: ScenePrior) -> np.ndarray:
    """Which scenes have their host pixel there: the pixel that their targets lie in."""
    mean = np.sum(targets.place, axis=1) / np.asarray(targets.count)[:, None]
    host = np.round(mean).astype(int)
    outermost = (host == prior.border) | (
        host == np.array([prior.height, prior.width]) - 1 - prior.border
    )
    wanted = {"any": (0, 1, 2), "edge": (1,), "corner": (2,)}[hosts]
    return np.isin(outermost.sum(axis=1), wanted)


def measure(setting: Setting, method: str, images: int, seed: int) -> Record | None:
    """What a method answers to images of a setting, held against the truth.

    None where the method is for images that the setting's sensor does not deliver.
    """
    truth = scenes(setting, images, seed)
    pixels = expose(jax.random.key(seed + 1), render(truth, setting.world), setting.world)
    if method == "fast":
        unmixer = distax.Unmixer(method=method)
        if unmixer.sensor.white != setting.sensor.white:
            return None
    else:
        unmixer = distax.Unmixer(method=method, sensor=setting.sensor, prior=setting.prior)
    found = jax.tree.map(jnp.asarray, unmixer(np.asarray(pixels)))
    result = assess(found, truth, setting.world, setting.prior)
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
        **_trusted_part(found, truth),
        "by_count": result.by_count,
    }


def _trusted_part(found: Targets, truth: Targets) -> Record:
    """How many answers a method vouches for, and whether it is right to."""
    sums, coverage = _sums_of_trusted(found, truth)
    some = bool(sums.images)
    return {
        "trusted": float(jnp.mean(found.trusted)),
        "trusted_count_accuracy": float(sums.count_accuracy) if some else None,
        "trusted_rmse": float(sums.rmse) if some and sums.pairs else None,
        "trusted_coverage": _by_level(coverage) if some and sums.pairs else None,
    }


def _by_level(coverage: Float[Array, " L"]) -> dict[str, float]:
    shares = zip(CREDIBLE_LEVELS, coverage, strict=True)
    return {f"{level:.2f}": float(share) for level, share in shares}


@jax.jit
def _sums_of_trusted(found: Targets, truth: Targets) -> tuple[LocalizationSums, Float[Array, " L"]]:
    pairing = assign(found, truth)
    localization = LocalizationSums.of(found, truth, pairing, found.trusted)
    return localization, CoverageSums.of(found, pairing, found.trusted).coverage


def read_results(path: Path) -> list[Record]:
    """Results written so far, in the settings' order."""
    return json.loads(path.read_text())["results"] if path.is_file() else []


def write_results(path: Path, results: Iterable[Record]) -> None:
    """Write results, the settings in their order, each with one result a method."""
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
    """Measure what is not there yet, and write each result as it comes."""
    for method in methods:
        for name in names:
            if resume and _is_done(path, name, method, images, seed):
                continue
            result = measure(SETTINGS[name], method, images, seed)
            # Each setting compiles anew, and a process may map only so many compiled functions.
            jax.clear_caches()
            if result is None:
                print(f"{name}, {method}: not for images of this sensor", flush=True)
                continue
            command = " ".join(["python", "experiments/robustness.py", *sys.argv[1:]])
            record = {"setting": name, "method": method, **result, "command": command}
            record |= about_machine()
            # Read anew: another process may have measured other settings meanwhile.
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
    """Measure, and write results, tables and figure.

    Args:
      images: images a setting.
      methods: methods of `distax.Unmixer`; none to draw what is there.
      settings: names of settings; all of them without any.
      seed: of scenes and noise.
      json_file: where results are kept.
      figures: folder for `robustness.png` and `robustness.md`.
      resume: keep results that are there, if of as many images and of this seed.
    """
    if unknown := set(settings) - set(SETTINGS):
        sys.exit(f"unknown settings {sorted(unknown)}; there are {', '.join(SETTINGS)}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", distax.DistaxWarning)
        run_missing(json_file, methods, settings or tuple(SETTINGS), images, seed, resume)
    results = read_results(json_file)
    write_text(figures / "robustness.md", full_table(results))
    draw(figures / "robustness.png", results)
    print(full_table(results))


if __name__ == "__main__":
    tyro.cli(main)
