"""Makes the tables and the figure of `robustness.py` from its results."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from robustness_settings import SETTINGS, SWEEPS, Sweep

from distax.evaluation.results import format_percent, format_pixels
from distax.runtime.files import atomic_write

METHODS = ("refine", "fast", "posterior")
LEVEL = 0.9
"""Probability of the regions whose coverage is reported."""

Record = dict[str, Any]

HEADER = (
    "| setting | method | images | CSO-mAP | … by intensity | within 0.05 px | RMSE / px "
    "| bound / px | count right | in 90% region | trusted | trusted: count right "
    "| trusted: in 90% region | median misfit |"
)


def full_table(results: Iterable[Record]) -> str:
    """Returns a table with a row for each setting and method; shares in percent."""
    rows = map(row, results)
    return "\n".join([HEADER, "|---" * 2 + "|--:" * 12 + "|", *rows]) + "\n"


def row(record: Record) -> str:
    """Returns a result's row in Markdown."""
    level = f"{LEVEL:.2f}"
    cells = (
        record["setting"],
        record["method"],
        str(record["images"]),
        format_percent(record["cso_map_by_score"]),
        format_percent(record["cso_map"]),
        format_percent((record["within"] or {}).get("0.05")),
        format_pixels(record["rmse"]),
        format_pixels(record["bound"]),
        format_percent(record["count_accuracy"]),
        format_percent((record["coverage"] or {}).get(level)),
        format_percent(record["trusted"]),
        format_percent(record.get("trusted_count_accuracy")),
        format_percent((record.get("trusted_coverage") or {}).get(level)),
        f"{record['median_misfit']:.2f}",
    )
    return "| " + " | ".join(cells) + " |"


def short_table(results: Sequence[Record]) -> str:
    """Returns a table with a row for each setting and two columns for each method."""
    records_by_key = {(r["setting"], r["method"]): r for r in results}
    methods = [m for m in METHODS if any(method == m for _, method in records_by_key)]
    columns = ["bound / px"]
    for method in methods:
        columns += [f"{method}: CSO-mAP; RMSE / px", "trusted; of those in 90% region"]
    lines = [f"| setting | {' | '.join(columns)} |", "|---" + "|--:" * len(columns) + "|"]
    for name in SETTINGS:
        own = [records_by_key.get((name, method)) for method in methods]
        if bounds := [record["bound"] for record in own if record]:
            cells = [
                name,
                format_pixels(bounds[0]),
                *(cell for record in own for cell in _method_cells(record)),
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _method_cells(record: Record | None) -> tuple[str, str]:
    if record is None:
        return "–", "–"
    inside = (record.get("trusted_coverage") or {}).get(f"{LEVEL:.2f}")
    return (
        f"{format_percent(record['cso_map_by_score'])}; {format_pixels(record['rmse'])}",
        f"{format_percent(record['trusted'])}; {format_percent(inside)}",
    )


_STYLES = {"refine": "o-", "posterior": "s-", "fast": "^-"}


def draw_sweeps(path: Path, results: Sequence[Record]) -> None:
    """Draws a row for each sweep: scores, errors with their bound, and trusted answers."""
    from matplotlib.figure import Figure

    records_by_key = {(r["setting"], r["method"]): r for r in results}
    figure = Figure(figsize=(14, 3.1 * len(SWEEPS)), layout="constrained")
    for sweep, axes in zip(SWEEPS, figure.subplots(len(SWEEPS), 3), strict=True):
        for ax, (label, fill) in zip(axes, _PANELS.items(), strict=True):
            for line in fill(sweep, records_by_key):
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
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=80)


@dataclass(frozen=True)
class Line:
    """A line of a panel; missing values are NaN."""

    label: str
    values: list[float]
    style: str
    color: str


_COLORS = {"refine": "tab:blue", "posterior": "tab:red", "fast": "tab:green"}
Lookup = Mapping[tuple[str, str], Record]


def _lines(sweep: Sweep, records_by_key: Lookup) -> Iterator[tuple[str, list[Record]]]:
    """Yields the records of each method along a sweep; missing records are empty."""
    for method in _STYLES:
        records = [records_by_key.get((name, method), {}) for name in sweep.settings.values()]
        if any(records):
            yield method, records


def _scores(sweep: Sweep, records_by_key: Lookup) -> Iterator[Line]:
    for method, records in _lines(sweep, records_by_key):
        values = [100 * r.get("cso_map_by_score", np.nan) for r in records]
        yield Line(method, values, _STYLES[method], _COLORS[method])


def _errors(sweep: Sweep, records_by_key: Lookup) -> Iterator[Line]:
    bounds: list[float] = []
    for method, records in _lines(sweep, records_by_key):
        values = [r.get("rmse") or np.nan for r in records]
        yield Line(method, values, _STYLES[method], _COLORS[method])
        now = [r.get("bound") or np.nan for r in records]
        bounds = [b if np.isnan(a) else a for a, b in zip(now, bounds or now, strict=True)]
    if bounds:
        yield Line("Cramér–Rao bound", bounds, "--", "black")


def _trust(sweep: Sweep, records_by_key: Lookup) -> Iterator[Line]:
    for method, records in _lines(sweep, records_by_key):
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
