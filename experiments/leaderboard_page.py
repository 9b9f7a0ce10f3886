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
        _amount(result["multiply_adds"]) if "multiply_adds" in result else "–",
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
    """Score against cost, with what the grid and the images allow."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6.5), layout="constrained")
    ax = figure.subplots()
    for result in results:
        if "multiply_adds" not in result or result["factor"] != 3:
            continue
        at = result["multiply_adds"], 100 * result["evaluation"]["cso_map"]
        ax.plot(*at, "o", color=_COLOURS[result["family"]], ms=5)
        ax.annotate(result["title"], at, xytext=(4, 3), textcoords="offset points", fontsize=7)
    for family, colour in _COLOURS.items():
        ax.plot([], [], "o", color=colour, label=family)
    for level, name in ((CEILING, "the perfect answer on this grid"), (LIMIT, "off the grid")):
        ax.axhline(level, color="black", lw=0.8, ls="--")
        ax.annotate(
            f"{name}: {level}", (0.01, level), xycoords=("axes fraction", "data"), va="bottom"
        )
    ax.set(
        xscale="log",
        xlabel="multiply-adds per image",
        ylabel="CSO-mAP in percent, simulated test images",
        ylim=(0, 100),
    )
    ax.legend(loc="center right")
    with whole_file(path) as unfinished:
        figure.savefig(unfinished, dpi=130)
