"""The table and the figure of the leaderboard, from its results."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distax.files import whole_file, write_text

# CSO-mAP in percent of what is not a model on the grid: see experiments/off_grid.md.
CEILING, LIMIT = 47.2, 93.3
_COLOURS = {
    "traditional": "tab:gray",
    "unfolding": "tab:blue",
    "one-stage": "tab:red",
    "super-resolution": "tab:green",
}
_HEAD = (
    "| model | CSO-mAP | AP-05 | AP-10 | AP-15 | AP-20 | AP-25 | PSNR | SSIM | parameters "
    "| multiply-adds | images/s | trained on | published |\n"
    "|---|" + "--:|" * 13 + "\n"
)


def insert_table(page: Path, results: Sequence[dict[str, Any]]) -> None:
    """Put the table between its marks on a page in Markdown, in place of the one there."""
    before, begin, rest = page.read_text().partition("<!-- leaderboard: begin -->\n")
    _, end, after = rest.partition("<!-- leaderboard: end -->\n")
    write_text(page, before + begin + table(results) + end + after)


def table(results: Sequence[dict[str, Any]]) -> str:
    """A row a model, the best first."""
    ranked = sorted(results, key=lambda result: -result["evaluation"]["cso_map"])
    return _HEAD + "".join(map(row, ranked))


def row(result: dict[str, Any]) -> str:
    """A model's row in Markdown."""
    evaluation = result["evaluation"]
    scores = [evaluation["cso_map"], *evaluation["ap"].values()]
    published = result["published"]
    cells = [
        result["title"] + (f", c = {result['factor']}" if result["factor"] != 3 else ""),
        *(f"{100 * score:.2f}" for score in scores),
        f"{evaluation['psnr']:.2f}",
        f"{evaluation['ssim']:.4f}",
        _amount(result["parameters"]) if result["parameters"] else "–",
        _amount(result["multiply_adds"]) if result.get("multiply_adds") else "–",
        f"{result['images_per_second']:,.0f}" if "images_per_second" in result else "–",
        f"{result['images']:,}" if result["images"] else "–",
        f"{published:.2f}" if published is not None else "–",
    ]
    return f"| {' | '.join(cells)} |\n"


def _amount(number: float) -> str:
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.0f}"


def draw_scores(path: Path, results: Sequence[dict[str, Any]]) -> None:
    """Score against cost, with what the grid and the images allow; on the right, the best."""
    from matplotlib.figure import Figure

    shown = [result for result in results if result.get("multiply_adds") and result["factor"] == 3]
    figure = Figure(figsize=(13, 6), layout="constrained")
    whole, best = figure.subplots(1, 2)
    for ax, lowest, highest in ((whole, 0, 100), (best, 42, 48)):
        for result in shown:
            score = 100 * result["evaluation"]["cso_map"]
            if lowest <= score <= highest:
                ax.plot(result["multiply_adds"], score, "o", color=_COLOURS[result["family"]], ms=5)
                if ax is best:
                    _name(ax, result["title"], (result["multiply_adds"], score))
        for level, name in ((CEILING, "the perfect answer on this grid"), (LIMIT, "off the grid")):
            if lowest < level < highest:
                ax.axhline(level, color="black", lw=0.8, ls="--")
                where = (0.01, level)
                ax.annotate(f"{name}: {level}", where, xycoords=("axes fraction", "data"), va="top")
        ax.set(xscale="log", xlabel="multiply-adds per image", ylim=(lowest, highest))
    for family in dict.fromkeys(result["family"] for result in shown):
        whole.plot([], [], "o", color=_COLOURS[family], label=family)
    whole.set_ylabel("CSO-mAP in percent, simulated test images")
    whole.legend(loc="center left")
    best.margins(x=0.15)
    with whole_file(path) as unfinished:
        figure.savefig(unfinished, dpi=120)


def _name(ax: Any, title: str, at: tuple[float, float]) -> None:
    short = title.removeprefix("DISTA-Net, ")
    ax.annotate(short, at, xytext=(4, 3), textcoords="offset points", fontsize=8)
