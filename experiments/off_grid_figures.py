"""Makes the figures and numbers of `off_grid.md`.

    python experiments/off_grid_figures.py

Writes `grid_ceiling.png`, `clipping.png` and `off_grid.json` to `experiments/results`.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro
from jaxtyping import Float

import distax
from distax.evaluation.results import SCORE_HEADINGS, format_percent
from distax.fitting.posterior import draw_scenes
from distax.fitting.sampler import Effort
from distax.imaging.forward import render
from distax.imaging.scenes import ScenePrior, sample, simulate
from distax.imaging.sensor import Sensor, expose
from distax.imaging.targets import Targets
from distax.metrics import RADII, cramer_rao, cso_map
from distax.runtime.files import atomic_write, write_text

BLURS = {3: 0.05, 5: 0.03, 7: 0.02}
"""Blur of the labels in pixels, by grid factor; blurred nodes encode sub-node positions."""
METHODS = ("refine", "fast", "posterior")
FOUR_TARGETS = ScenePrior(min_targets=4, max_targets=4)
CLIPPED = Sensor()
UNCLIPPED = Sensor(saturation=None, bit_depth=12)


@dataclass(frozen=True)
class Score:
    """CSO-mAP and average precisions of one method, from 0 to 1."""

    name: str
    images: int
    cso_map: float
    ap: dict[str, float]


def measure_scores(images: int, seed: int) -> list[Score]:
    """Scores the perfect answers on grids and the methods on the same images."""
    pixels, truth = simulate(jax.random.key(seed), images)
    answers = {}
    for factor, blur in BLURS.items():
        name = f"the perfect answer on the c = {factor} grid"
        for about, spread in {"": 0.0, ", blurred": blur}.items():
            answers[name + about] = distax.decode(distax.rasterize(truth, CLIPPED, factor, spread))
    answers["DISTA-Net, blurred labels"] = distax.Unmixer.load("dista")(np.asarray(pixels))
    for method in METHODS:
        answers[method] = distax.Unmixer(method=method)(np.asarray(pixels))
    return [_score(name, found, truth) for name, found in answers.items()]


def _score(name: str, found: Targets, truth: Targets) -> Score:
    report = cso_map(found, truth)
    ap = {f"{radius:.2f}": float(ap) for radius, ap in zip(RADII, report.ap, strict=True)}
    return Score(name, len(truth.mask), float(report.mean), ap)


def score_table(results: list[dict[str, Any]]) -> str:
    """Returns the scores in percent as a Markdown table."""
    lines = [f"| | {' | '.join(SCORE_HEADINGS[1:])} |", "|---" + "|--:" * 6 + "|"]
    for row in results:
        values = [row["cso_map"], *row["ap"].values()]
        lines.append(f"| {row['name']} | " + " | ".join(map(format_percent, values)) + " |")
    return "\n".join(lines) + "\n"


def draw_ceiling(path: Path, results: list[Score], truth: Targets) -> None:
    """Draws a scene with the nodes of the coarsest grid, and average precision by radius."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_nodes(left, np.asarray(truth.position[0][truth.mask[0]]))
    styles = ["o:", "o--", "s:", "s--", "^:", "^--", "D-", "o-", "s-", "^-"]
    for result, style in zip(results, styles, strict=True):
        right.plot(RADII, [100 * ap for ap in result.ap.values()], style, label=result.name)
    right.set(xlabel="matching radius / px", ylabel="average precision / %", ylim=(-3, 103))
    right.set_xticks(RADII)
    right.legend(fontsize="x-small", loc="lower right")
    right.grid(alpha=0.3)
    right.set_title(f"{results[0].images:,} simulated CSIST-100K images")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _draw_nodes(ax, position: Float[np.ndarray, "K 2"]) -> None:
    from matplotlib.patches import Circle

    host = np.round(position.mean(axis=0))
    nodes = np.stack(np.meshgrid(*[np.arange(-2, 3) / 3] * 2), axis=-1).reshape(-1, 2) + host
    ax.scatter(nodes[:, 1], nodes[:, 0], marker="s", s=14, color="grey", label="nodes, c = 3")
    nearest = np.round(3 * position) / 3
    for (row, column), (node_row, node_column) in zip(position, nearest, strict=True):
        ax.plot([column, node_column], [row, node_row], color="tab:red", linewidth=1.2)
        for radius in (RADII[0], RADII[2]):
            ax.add_patch(Circle((column, row), radius, fill=False, color="tab:blue", alpha=0.6))
    ax.scatter(position[:, 1], position[:, 0], color="tab:blue", s=22, label="true targets")
    ax.plot([], [], color="tab:red", linewidth=1.2, label="to the nearest node")
    circles = f"circles of {RADII[0]:.2f} and {RADII[2]:.2f} px"
    ax.plot([], [], "o", markerfacecolor="none", color="tab:blue", alpha=0.6, label=circles)
    _frame_host(ax, host, 0.72)
    ax.legend(fontsize="small", loc="upper center", ncols=2)
    ax.set_ylim(host[0] + 0.72, host[0] - 1.05)
    ax.set_title("One host pixel")


def draw_clipping(path: Path, seed: int, index: int, effort: Effort) -> dict[str, float]:
    """Draws a scene taken with and without clipping: image, posterior draws and bound.

    Returns:
      Root mean square of the bound over the scene's targets in pixels, by sensor.
    """
    from matplotlib.figure import Figure

    drawn = sample(jax.random.key(seed), index + 1, FOUR_TARGETS)
    truth = jax.tree.map(lambda leaf: leaf[index], drawn)
    figure = Figure(figsize=(9.6, 9.2), layout="constrained")
    bounds = {}
    sensors = [(CLIPPED, "clips at 255 counts"), (UNCLIPPED, "12 bit, does not clip")]
    for (sensor, title), axes in zip(sensors, figure.subplots(2, 2), strict=True):
        image = expose(jax.random.key(0), render(truth, sensor), sensor)
        covariance = np.asarray(cramer_rao(truth, sensor, FOUR_TARGETS))
        bounds[title] = math.sqrt(np.trace(covariance, axis1=-2, axis2=-1).mean())
        _draw_image(figure, axes[0], np.asarray(image), sensor, title)
        position, _ = draw_scenes(image[None], 4, sensor, FOUR_TARGETS, effort)
        _draw_draws(axes[1], position[0], truth, covariance)
        axes[1].set_title(f"posterior; bound {bounds[title]:.3f} px")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=100)
    return bounds


def _draw_image(figure, ax, image: np.ndarray, sensor: Sensor, title: str) -> None:
    shown = ax.imshow(image, cmap="gray", vmin=0)
    figure.colorbar(shown, ax=ax, label="counts", shrink=0.8)
    rows, columns = np.nonzero(image >= sensor.clip_level)
    ax.scatter(columns, rows, marker="x", color="red", s=60, label="clipped: “255 or more”")
    if len(rows):
        ax.legend(fontsize="small", loc="upper right")
    ax.set(xlabel="column / px", ylabel="row / px", title=f"Image: {title}")


def _draw_draws(
    ax, draws: Float[np.ndarray, "N 4 2"], truth: Targets, covariance: Float[np.ndarray, "4 2 2"]
) -> None:
    flat = draws.reshape(-1, 2)
    label = f"targets of {len(draws):,} draws"
    ax.scatter(flat[:, 1], flat[:, 0], s=4, color="tab:orange", alpha=0.25, label=label)
    position = np.asarray(truth.position)
    ax.scatter(position[:, 1], position[:, 0], marker="+", color="black", s=90, label="true")
    angle = np.linspace(0, 2 * np.pi, 100)
    circle = math.sqrt(-2 * math.log(0.1)) * np.stack([np.cos(angle), np.sin(angle)])
    for place, matrix in zip(position, covariance, strict=True):
        outline = place[:, None] + np.linalg.cholesky(matrix) @ circle
        ax.plot(outline[1], outline[0], color="tab:blue", linewidth=1)
    ax.plot([], [], color="tab:blue", linewidth=1, label="90% ellipse of the Cramér–Rao bound")
    host = np.round(position.mean(axis=0))
    _frame_host(ax, host, 0.72)
    ax.set_ylim(host[0] + 0.72, host[0] - 0.95)
    ax.legend(fontsize="small", loc="upper right")


def _frame_host(ax, host: np.ndarray, reach: float) -> None:
    """Limits the axes to a host pixel and draws its edges; rows run downwards."""
    from matplotlib.patches import Rectangle

    ax.add_patch(Rectangle(host[::-1] - 0.5, 1, 1, fill=False, color="grey", linewidth=0.8))
    ax.set_xlim(host[1] - reach, host[1] + reach)
    ax.set_ylim(host[0] + reach, host[0] - reach)
    ax.set(xlabel="column / px", ylabel="row / px", aspect="equal")


def main(
    images: int = 1000,
    seed: int = 10_000,
    scene_seed: int = 0,
    scene: int = 10,
    output: Path = Path(__file__).parent / "results",
) -> None:
    """Make the figures and numbers.

    Args:
      images: number of images for the scores.
      seed: random seed of these images.
      scene_seed: random seed of the clipped scene.
      scene: index of the clipped scene.
      output: folder of figures and numbers.
    """
    bounds = draw_clipping(
        output / "clipping.png", scene_seed, scene, Effort(particles=2048, levels=12, moves=24)
    )
    results = measure_scores(images, seed)
    example = sample(jax.random.key(4), 1, ScenePrior(min_targets=3, max_targets=3))
    draw_ceiling(output / "grid_ceiling.png", results, example)
    numbers = {
        "images": images,
        "seed": seed,
        "scores": [vars(score) for score in results],
        "bound_of_four_targets": bounds,
    }
    write_text(output / "off_grid.json", json.dumps(numbers, indent=1, ensure_ascii=False) + "\n")
    print(score_table(numbers["scores"]))
    print(bounds)


if __name__ == "__main__":
    tyro.cli(main)
