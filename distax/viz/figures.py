"""Pictures of images and the targets in them, and of how good answers are."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np
from jaxtyping import Float

from distax.evaluation import Evaluation
from distax.imaging.sensor import Sensor, expose, render
from distax.imaging.targets import Targets
from distax.runtime.files import atomic_write, check_suffix
from distax.runtime.optional import require
from distax.viz.overlays import draw_ellipses

if TYPE_CHECKING:
    from matplotlib.figure import Figure, FigureBase

FORMATS = (".png", ".pdf", ".svg")
"""Suffixes of the pictures that can be written."""
MAX_ROWS = 8
"""Images that are drawn at most."""
ROW_SIZE = (9.0, 3.1)
"""Width and height in inches of what is drawn of an image."""


def check_figure_path(path: Path) -> None:
    """Raise DistaxError for a suffix that names no format of pictures."""
    check_suffix(path, "pictures", FORMATS)
    require("matplotlib", "figures")


def save_figure(path: Path, figure: "Figure") -> None:
    """Write a figure to a .png, .pdf or .svg file, whole or not at all.

    Raises:
      DistaxError: another suffix, or the file cannot be written.
    """
    check_figure_path(path)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=120)


def draw_unmixing(
    path: Path,
    images: Float[np.ndarray, "N height width"],
    found: Targets,
    sensor: Sensor,
    names: Sequence[str],
    truth: Targets | None = None,
) -> None:
    """A row an image: the image, the targets found (and the true ones), what they would look like.

    Args:
      path: the picture, .png, .pdf or .svg.
      images: at most `MAX_ROWS` are drawn, the first ones.
      found: targets `[N, K]`.
      sensor: for the reconstruction, with its clipping and rounding but no noise.
      names: a title for each image.
      truth: true targets `[N, M]`, if known.

    Raises:
      DistaxError: another suffix, or the picture cannot be written.
    """
    require("matplotlib", "figures")
    from matplotlib.figure import Figure

    width, height = ROW_SIZE
    figure = Figure(figsize=(width, height * min(len(images), MAX_ROWS)), layout="constrained")
    draw_image_rows(figure, images, found, sensor, names, truth)
    save_figure(path, figure)


def draw_image_rows(
    figure: "FigureBase",
    images: Float[np.ndarray, "N height width"],
    found: Targets,
    sensor: Sensor,
    names: Sequence[str],
    truth: Targets | None = None,
) -> None:
    """Draw what `draw_unmixing` does on a figure or a part of one, `ROW_SIZE` inches a row."""
    rows = min(len(images), MAX_ROWS)
    rebuilt = np.asarray(noise_free(found, sensor))
    for row, axes in enumerate(figure.subplots(rows, 3, squeeze=False)):
        top = np.max(images[row], initial=1.0, where=np.isfinite(images[row]))
        for ax, picture in zip(axes, (images[row], images[row], rebuilt[row]), strict=True):
            shown = ax.imshow(picture, cmap="gray", vmin=0, vmax=top)
            ax.set(xlabel="column / px", ylabel="row / px")
        # A file's name is no mathematics, whatever dollar signs it has.
        axes[0].set_title(names[row], parse_math=False)
        axes[1].set_title(count_text(found, row))
        axes[2].set_title("image of those targets")
        zoom_on_targets(axes[1], found, truth, row)
        figure.colorbar(shown, ax=axes[2], label="counts")


def noise_free(found: Targets, sensor: Sensor) -> jax.Array:
    """What the sensor delivers for targets `[N, K]`, clipped and rounded but without noise."""
    from dataclasses import replace

    quiet = replace(sensor, read_noise=0.0, gain=None)
    return expose(jax.random.key(0), render(found, quiet), quiet)


def count_text(found: Targets, row: int) -> str:
    """How many targets an image has, for a title."""
    count = int(found.count[row])
    return f"{count} target{'' if count == 1 else 's'} found"


def zoom_on_targets(ax, found: Targets, truth: Targets | None, row: int) -> None:
    """Mark an image's targets with their error ellipses, and show no more than is around them.

    Args:
      ax: axes of matplotlib that show the image, columns to the right and rows downwards.
      found: targets `[N, K]`; those that know no covariance get no ellipses.
      truth: true targets `[N, M]`, if known.
      row: number of the image.
    """
    marked = [(found, {"marker": "+", "color": "red", "linewidths": 2, "label": "found"})]
    if truth is not None:
        style = {"marker": "o", "facecolors": "none", "edgecolors": "deepskyblue", "linewidths": 2}
        marked.append((truth, style | {"label": "true"}))
    positions = [np.asarray(targets.position[row][targets.mask[row]]) for targets, _ in marked]
    for position, (_, style) in zip(positions, marked, strict=True):
        ax.scatter(position[:, 1], position[:, 0], s=80, **style)
    if found.covariance is not None:
        draw_ellipses(ax, positions[0], found.covariance[row][found.mask[row]])
    everything = np.concatenate(positions)
    if len(everything):
        centre, reach = everything.mean(axis=0), max(1.0, np.ptp(everything, axis=0).max()) + 0.5
        ax.set_xlim(centre[1] - reach, centre[1] + reach)
        ax.set_ylim(centre[0] + reach, centre[0] - reach)
        ax.legend(loc="upper right", fontsize="small")


def draw_evaluation(path: Path, result: Evaluation) -> None:
    """Save `evaluation_figure`.

    Args:
      path: the picture, .png, .pdf or .svg.
      result: what to draw.

    Raises:
      DistaxError: another suffix, or the picture cannot be written.
    """
    save_figure(path, evaluation_figure(result))


def evaluation_figure(result: Evaluation) -> "Figure":
    """Errors and their bound by number of targets and, where stated, whether confidence is true.

    A notebook shows the figure where it is a cell's last line.
    """
    require("matplotlib", "figures")
    from matplotlib.figure import Figure

    panels = [_draw_errors]
    panels += [_draw_coverage] if result.coverage else []
    panels += [_draw_reliability] if result.reliability else []
    figure = Figure(figsize=(4.6 * len(panels), 4.2), layout="constrained")
    for ax, draw in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        draw(ax, result)
        ax.legend(fontsize="small")
        ax.grid(alpha=0.3)
    return figure


def _draw_errors(ax, result: Evaluation) -> None:
    groups = {count: group for count, group in result.by_count.items() if group["rmse"]}
    errors = [group["rmse"] for group in groups.values()]
    bounds = [group["bound"] or np.nan for group in groups.values()]
    ax.plot(list(groups), errors, "o-", label="error")
    ax.plot(list(groups), bounds, "s--", label="smallest possible (Cramér–Rao)")
    ax.set_yscale("log")
    ax.set(xlabel="true targets in the image", ylabel="root-mean-square position error / px")
    ax.set_title("Position error")


def _draw_coverage(ax, result: Evaluation) -> None:
    _draw_diagonal(ax)
    groups = {f"{count} in the image": group for count, group in result.by_count.items()}
    for label, group in (groups | {"all": result.to_dict()}).items():
        if coverage := group["coverage"]:
            style = "ko-" if label == "all" else "o:"
            ax.plot([float(level) for level in coverage], coverage.values(), style, label=label)
    ax.set(xlabel="stated probability of the region", ylabel="share of true targets inside")
    ax.set_title("Credible regions")


def _draw_reliability(ax, result: Evaluation) -> None:
    _draw_diagonal(ax)
    for radius, curve in (result.reliability or {}).items():
        stated, detections = np.clip(curve["reported"], 0, 1), np.array(curve["detections"])
        # What chance alone does to that many detections, were the probabilities true.
        chance = np.sqrt(stated * (1 - stated) / detections)
        label = f"within {radius} px"
        ax.errorbar(
            stated, curve["realised"], chance, fmt="o-", markersize=4, linewidth=0.7, label=label
        )
    ax.set(xlabel="stated hit probability", ylabel="share that were hits")
    ax.set_title("Hit probabilities")


def _draw_diagonal(ax) -> None:
    ax.plot([0, 1], [0, 1], color="grey", linewidth=1, label="honest")
    ax.set(xlim=(0, 1.01), ylim=(0, 1.01), aspect="equal")
