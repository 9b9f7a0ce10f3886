"""How answers hold up away from CSIST-100K's conditions: sweeps, each with its bound beside it.

    python experiments/robustness.py --resume

A result is written as soon as it is there, so an interrupted run goes on with `--resume`. The
tables are made from the results alone: `--methods` without a name measures nothing and only
writes tables and figure anew.
"""

import json
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from benchmarks.measuring import about_machine
from jaxtyping import Array, Float

import distax
from distax.evaluation import assess
from distax.files import whole_file, write_text
from distax.metrics import CoverageSums, LocalizationSums, assign
from distax.scenes import PlacementLaw, sample
from distax.sensor import Sensor, expose, render
from distax.targets import CREDIBLE_LEVELS, Targets

RESULTS = Path(__file__).parent / "results"
METHODS = ("refine", "fast", "posterior")
LEVEL = 0.9
"""Probability of the regions whose coverage is reported."""

Hosts = Literal["any", "edge", "corner"]
Record = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """Conditions under which images are taken.

    Attributes:
      sensor: what the estimator is told.
      law: how scenes are made; the estimator is told so too.
      sigma: the true width of the PSF in pixels; the sensor's where it is None.
      hosts: which host pixels to keep: any, those at an edge of the image, or its corners.
    """

    sensor: Sensor = Sensor()
    law: PlacementLaw = PlacementLaw()
    sigma: float | None = None
    hosts: Hosts = "any"

    @property
    def world(self) -> Sensor:
        """The sensor that took the images."""
        return self.sensor if self.sigma is None else replace(self.sensor, sigma=self.sigma)


@dataclass(frozen=True)
class Sweep:
    """Settings that differ in one thing: a panel row of the figure.

    Attributes:
      title: what differs.
      unit: the label of its axis.
      settings: names of settings by their place on the axis.
    """

    title: str
    unit: str
    settings: Mapping[str, str]


BASE = "CSIST-100K"
_EDGES = PlacementLaw(border=0)
_TRIPLES = PlacementLaw(max_targets=3)

SETTINGS: dict[str, Setting] = {
    BASE: Setting(),
    **{f"read noise {n}": Setting(Sensor(read_noise=float(n))) for n in (1, 2, 5, 10)},
    **{f"σ truly {100 * e:+.0f}%": Setting(sigma=0.5 * (1 + e)) for e in (-0.1, -0.05, 0.05, 0.1)},
    **{f"background {n}": Setting(Sensor(background=float(n))) for n in (5, 20)},
    "no full well, 12 bit": Setting(Sensor(full_well=None, bit_depth=12)),
    "separation 0.3": Setting(law=PlacementLaw(separation=0.3)),
    "separation 0.8, up to 4": Setting(law=PlacementLaw(separation=0.8, max_targets=4)),
    "cluster 1 px, up to 3": Setting(law=_TRIPLES),
    "cluster 1.5 px, up to 3": Setting(law=replace(_TRIPLES, cluster=1.5)),
    "cluster 2 px, up to 3": Setting(law=replace(_TRIPLES, cluster=2.0)),
    "host at an edge": Setting(law=_EDGES, hosts="edge"),
    "host in a corner": Setting(law=_EDGES, hosts="corner"),
}

SWEEPS = (
    Sweep(
        "Read noise",
        "standard deviation / counts",
        {"0": BASE} | {str(n): f"read noise {n}" for n in (1, 2, 5, 10)},
    ),
    Sweep(
        "σ of the PSF, taken to be 0.5 px",
        "its true value less that / %",
        {"−10": "σ truly -10%", "−5": "σ truly -5%", "0": BASE}
        | {"+5": "σ truly +5%", "+10": "σ truly +10%"},
    ),
    Sweep("Background", "counts", {"0": BASE, "5": "background 5", "20": "background 20"}),
    Sweep("Full well", "", {"255 counts, 8 bit": BASE, "none, 12 bit": "no full well, 12 bit"}),
    Sweep(
        "Smallest distance",
        "Rayleigh units (0.61 px)",
        {
            "0.3": "separation 0.3",
            "0.52": BASE,
            "0.8 (up to 4)": "separation 0.8, up to 4",
        },
    ),
    Sweep(
        "Side of the square that holds up to 3 targets",
        "px",
        {n: f"cluster {n} px, up to 3" for n in ("1", "1.5", "2")},
    ),
    Sweep(
        "Host pixel",
        "",
        {"inside": BASE, "at an edge": "host at an edge", "in a corner": "host in a corner"},
    ),
)


def scenes(setting: Setting, images: int, seed: int) -> Targets:
    """The same scenes for all settings of one law, as far as the hosts allow."""
    per_host = {"any": 1, "edge": 6, "corner": 60}[setting.hosts]
    drawn = sample(jax.random.key(seed), per_host * images, setting.law)
    chosen = np.flatnonzero(_is_host(setting.hosts, drawn, setting.law))[:images]
    assert len(chosen) == images
    return jax.tree.map(lambda leaf: leaf[chosen], drawn)


def _is_host(hosts: Hosts, targets: Targets, law: PlacementLaw) -> np.ndarray:
    """Which scenes have their host pixel there: the pixel that their targets lie in."""
    mean = np.sum(targets.place, axis=1) / np.asarray(targets.count)[:, None]
    host = np.round(mean).astype(int)
    outermost = (host == law.border) | (host == np.array([law.height, law.width]) - 1 - law.border)
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
        unmixer = distax.Unmixer(method=method, sensor=setting.sensor, law=setting.law)
    found = jax.tree.map(jnp.asarray, unmixer(np.asarray(pixels)))
    result = assess(found, truth, setting.world, setting.law)
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
        "trusted_coverage": _by_level(coverage) if some else None,
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
            print(_row(record), flush=True)


HEADER = (
    "| setting | method | images | CSO-mAP | … by intensity | within 0.05 px | RMSE / px "
    "| bound / px | count right | in 90% region | trusted | trusted: count right "
    "| trusted: in 90% region | median misfit |"
)


def full_table(results: Iterable[Record]) -> str:
    """A row a setting and method; shares in percent."""
    rows = map(_row, results)
    return "\n".join([HEADER, "|---" * 2 + "|--:" * 12 + "|", *rows]) + "\n"


def _row(record: Record) -> str:
    level = f"{LEVEL:.2f}"
    cells = (
        record["setting"],
        record["method"],
        str(record["images"]),
        percent(record["cso_map_by_score"]),
        percent(record["cso_map"]),
        percent((record["within"] or {}).get("0.05")),
        pixels(record["rmse"]),
        pixels(record["bound"]),
        percent(record["count_accuracy"]),
        percent((record["coverage"] or {}).get(level)),
        percent(record["trusted"]),
        percent(record.get("trusted_count_accuracy")),
        percent((record.get("trusted_coverage") or {}).get(level)),
        f"{record['median_misfit']:.2f}",
    )
    return "| " + " | ".join(cells) + " |"


def short_table(results: Sequence[Record]) -> str:
    """A row a setting, two columns a method: how good, and what its trust is worth."""
    by = {(r["setting"], r["method"]): r for r in results}
    methods = [m for m in METHODS if any(method == m for _, method in by)]
    columns = ["bound / px"]
    for method in methods:
        columns += [f"{method}: CSO-mAP; RMSE / px", "trusted; of those in 90% region"]
    lines = [f"| setting | {' | '.join(columns)} |", "|---" + "|--:" * len(columns) + "|"]
    for name in SETTINGS:
        own = [by.get((name, method)) for method in methods]
        if bounds := [record["bound"] for record in own if record]:
            cells = [name, pixels(bounds[0]), *(cell for record in own for cell in _pair(record))]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _pair(record: Record | None) -> tuple[str, str]:
    if record is None:
        return "–", "–"
    inside = (record.get("trusted_coverage") or {}).get(f"{LEVEL:.2f}")
    return (
        f"{percent(record['cso_map_by_score'])}; {pixels(record['rmse'])}",
        f"{percent(record['trusted'])}; {percent(inside)}",
    )


def percent(share: float | None) -> str:
    """A share as a table says it."""
    return "–" if share is None or np.isnan(share) else f"{100 * share:.1f}"


def pixels(distance: float | None) -> str:
    """A distance in pixels as a table says it."""
    return "–" if distance is None else f"{distance:.4f}"


_STYLES = {"refine": "o-", "posterior": "s-", "fast": "^-"}


def draw(path: Path, results: Sequence[Record]) -> None:
    """A row a sweep: scores, errors beside their bound, and what trust is worth."""
    from matplotlib.figure import Figure

    by = {(r["setting"], r["method"]): r for r in results}
    figure = Figure(figsize=(14, 3.1 * len(SWEEPS)), layout="constrained")
    for sweep, axes in zip(SWEEPS, figure.subplots(len(SWEEPS), 3), strict=True):
        for ax, (label, fill) in zip(axes, _PANELS.items(), strict=True):
            for line in fill(sweep, by):
                places = range(len(sweep.settings))
                ax.plot(places, line.values, line.style, color=line.color, label=line.label)
            ax.set(xlabel=sweep.unit, ylabel=label)
            ax.set_xticks(range(len(sweep.settings)), list(sweep.settings))
            ax.set_xlim(-0.25, len(sweep.settings) - 0.75)
            ax.set_title(sweep.title, fontsize="medium")
            ax.grid(alpha=0.3)
        axes[1].set_ylim(bottom=0)
        for ax in (axes[0], axes[2]):
            ax.set_ylim(-3, 103)
    lines = {line.get_label(): line for ax in figure.axes for line in ax.lines}
    figure.legend(lines.values(), lines.keys(), loc="outside upper center", ncols=4)
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=80)


@dataclass(frozen=True)
class Line:
    """A line of a panel; values are NaN where there are none."""

    label: str
    values: list[float]
    style: str
    color: str


_COLORS = {"refine": "tab:blue", "posterior": "tab:red", "fast": "tab:green"}
Lookup = Mapping[tuple[str, str], Record]


def _lines(sweep: Sweep, by: Lookup) -> Iterator[tuple[str, list[Record]]]:
    """The records of each method along a sweep, empty where there are none."""
    for method in _STYLES:
        records = [by.get((name, method), {}) for name in sweep.settings.values()]
        if any(records):
            yield method, records


def _scores(sweep: Sweep, by: Lookup) -> Iterator[Line]:
    for method, records in _lines(sweep, by):
        values = [100 * r.get("cso_map_by_score", np.nan) for r in records]
        yield Line(method, values, _STYLES[method], _COLORS[method])


def _errors(sweep: Sweep, by: Lookup) -> Iterator[Line]:
    bounds: list[float] = []
    for method, records in _lines(sweep, by):
        values = [r.get("rmse") or np.nan for r in records]
        yield Line(method, values, _STYLES[method], _COLORS[method])
        now = [r.get("bound") or np.nan for r in records]
        bounds = [b if np.isnan(a) else a for a, b in zip(now, bounds or now, strict=True)]
    if bounds:
        yield Line("Cramér–Rao bound", bounds, "--", "black")


def _trust(sweep: Sweep, by: Lookup) -> Iterator[Line]:
    for method, records in _lines(sweep, by):
        trusted = [100 * (r.get("trusted") or 0.0) if r else np.nan for r in records]
        inside = [
            100 * (r.get("trusted_coverage") or {}).get(f"{LEVEL:.2f}", np.nan) for r in records
        ]
        yield Line(method, trusted, _STYLES[method], _COLORS[method])
        style = _STYLES[method][0] + ":"
        yield Line(f"{method}: of those trusted, in 90% region", inside, style, _COLORS[method])


_PANELS = {
    "CSO-mAP by score / %": _scores,
    "RMS position error / px": _errors,
    "share trusted (full line) / %": _trust,
}


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
