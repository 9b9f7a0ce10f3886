"""Writes the leaderboard's table and figure from its results, and inserts tables in pages."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distax.evaluation.results import SCORE_HEADINGS, format_percent
from distax.runtime.files import atomic_write, write_text

TOLERANCE = 1.0
"""Points of CSO-mAP below the published score that need no reason."""
_COLOURS = {
    "traditional": "tab:gray",
    "unfolding": "tab:blue",
    "one-stage": "tab:red",
    "super-resolution": "tab:green",
}
_BEST_RANGE = 42, 53
_PLACES = [
    (align, (sign * 5, height))
    for height in (0, 9, -9, 18, -18)
    for align, sign in (("left", 1), ("right", -1))
]
"""Alignments of a label and its offsets from its point in typographic points, best first."""
_HEAD = (
    f"| model | {' | '.join(SCORE_HEADINGS[1:])} | PSNR | SSIM | parameters "
    "| multiply-adds | images/s | trained on | published |\n"
    "|---|" + "--:|" * 13 + "\n"
)
_BEGIN, _END = (f"<!-- leaderboard: {place} -->\n" for place in ("begin", "end"))


def insert_table(page: Path, text: str) -> None:
    """Replaces the table between its markers on a Markdown page.

    Raises:
      ValueError: the page has no such markers.
    """
    before, begin, rest = page.read_text(encoding="utf-8").partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not end:
        raise ValueError(f"{page}: no place for the table; add the lines\n{_BEGIN}{_END}")
    write_text(page, before + begin + text + end + after)


def table(results: Sequence[dict[str, Any]]) -> str:
    """Returns the table, best model first, and reasons for scores below the published ones."""
    ranked = sorted(results, key=lambda result: -result["evaluation"]["cso_map"])
    reasons = "".join(
        f"- {result['title']} ({points:.1f}): {result['shortfall']}\n"
        for result in ranked
        if (points := below_published(result)) > TOLERANCE
    )
    return (
        _HEAD
        + "".join(map(row, ranked))
        + f"\nImages/s: inference on {_cost_machine(results)}.\n"
        + (f"\nPoints below the published score, and why:\n\n{reasons}" if reasons else "")
    )


def _cost_machine(results: Sequence[dict[str, Any]]) -> str:
    """Returns the machine of the measured costs, which are comparable on one machine only."""
    machines = {
        f"{about['cores']} cores of an {about['processor'].replace('(R)', '')}"
        for result in results
        if (about := result.get("cost_about"))
    }
    return " and ".join(sorted(machines))


def below_published(result: dict[str, Any]) -> float:
    """Returns the points of CSO-mAP by which a result is below the highest published one."""
    return max(result["published"], default=0.0) - 100 * result["evaluation"]["cso_map"]


def row(result: dict[str, Any]) -> str:
    """Returns a model's row in Markdown."""
    evaluation = result["evaluation"]
    scores = [evaluation["cso_map"], *evaluation["ap"].values()]
    published = result["published"]
    cells = [
        result["title"] + (f", c = {result['factor']}" if result["factor"] != 3 else ""),
        *(format_percent(score, 2) for score in scores),
        f"{evaluation['psnr']:.2f}",
        f"{evaluation['ssim']:.4f}",
        _format_amount(result["parameters"]) if result["parameters"] else "–",
        _format_amount(result["multiply_adds"]) if result.get("multiply_adds") else "–",
        f"{result['images_per_second']:,.0f}" if "images_per_second" in result else "–",
        f"{result['images']:,}" if result["images"] else "–",
        "–".join(f"{score:.2f}" for score in sorted({min(published), max(published)}))
        if published
        else "–",
    ]
    return f"| {' | '.join(cells)} |\n"


def _format_amount(number: float) -> str:
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.0f}"


def draw_scores(path: Path, results: Sequence[dict[str, Any]], limits: Mapping[str, float]) -> None:
    """Draws scores by cost with the limits of the grid; the right panel enlarges the best."""
    from matplotlib.figure import Figure

    shown = [result for result in results if result.get("multiply_adds") and result["factor"] == 3]
    figure = Figure(figsize=(13, 6), layout="constrained")
    whole, best = figure.subplots(1, 2)
    for ax, lowest, highest in ((whole, 0, 100), (best, *_BEST_RANGE)):
        for result in shown:
            score = 100 * result["evaluation"]["cso_map"]
            if lowest <= score <= highest:
                ax.plot(result["multiply_adds"], score, "o", color=_COLOURS[result["family"]], ms=5)
        for name, level in limits.items():
            if lowest < 100 * level < highest:
                _draw_level(ax, name, 100 * level)
        ax.set(xscale="log", xlabel="multiply-adds per image", ylim=(lowest, highest))
    for family in dict.fromkeys(result["family"] for result in shown):
        whole.plot([], [], "o", color=_COLOURS[family], label=family)
    whole.set_ylabel("CSO-mAP in percent, simulated test images")
    whole.legend(loc="lower right")
    best.margins(x=0.15)
    _label(best, shown)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _draw_level(ax: Any, name: str, level: float) -> None:
    ax.axhline(level, color="black", lw=0.8, ls="--")
    where = (0.01, level)
    ax.annotate(f"{name}: {level:.1f}", where, xycoords=("axes fraction", "data"), va="top")


def _label(ax: Any, results: Sequence[dict[str, Any]]) -> None:
    """Writes titles beside their points, where they cover no point and no other text.

    The axes have their limits already. A title without a free place stands at the last one tried.
    """
    from matplotlib.transforms import Bbox

    ax.figure.draw_without_rendering()
    points = {
        result["title"].removeprefix("DISTA-Net, "): (result["multiply_adds"], level)
        for result in results
        if _BEST_RANGE[0] <= (level := 100 * result["evaluation"]["cso_map"]) <= _BEST_RANGE[1]
    }
    corners = ax.transData.transform(list(points.values()))
    taken = [Bbox([corner - 4, corner + 4]) for corner in corners]
    taken += [text.get_window_extent() for text in ax.texts]
    for title, at in sorted(points.items(), key=lambda item: -item[1][1]):
        for align, place in _PLACES:
            how = {"textcoords": "offset points", "ha": align, "va": "center", "fontsize": 8}
            label = ax.annotate(title, at, xytext=place, **how)
            box = label.get_window_extent()
            inside = ax.bbox.x0 < box.x0 and box.x1 < ax.bbox.x1
            if (align, place) == _PLACES[-1] or (inside and not box.count_overlaps(taken)):
                break
            label.remove()
        taken.append(box)
