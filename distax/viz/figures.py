"""Figures of images with the targets found in them, and of evaluations."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import Float

from distax.evaluation import Evaluation
from distax.imaging.forward import render
from distax.imaging.sensor import Sensor, expose
from distax.imaging.targets import Targets
from distax.runtime.files import atomic_write, check_suffix
from distax.runtime.optional import require
from distax.viz.ellipses import ELLIPSE, REGION, draw_ellipses, surroundings
from distax.viz.titles import elide, plural

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colorbar import Colorbar
    from matplotlib.figure import Figure, FigureBase

FORMATS = (".png", ".pdf", ".svg")
"""Suffixes of the figure formats that can be written."""
MAX_ROWS = 8
"""Largest number of images in a figure."""
ROW_SIZE = (12.2, 3.1)
"""Width and height in inches of an image's row in a figure."""
MAX_DEVIATION = 5.0
"""Standard deviations of the noise at which a residual's colours saturate. A larger value hides
weak structure, a smaller one exaggerates noise."""
_TITLE = 26
"""Most characters in the title of an image's panel. More would be cut off."""


def check_figure_path(path: Path) -> None:
    """Raises DistaxError if the suffix is not that of a figure format."""
    check_suffix(path, "pictures", FORMATS)
    require("matplotlib", "figures")


def save_figure(path: Path, figure: "Figure") -> None:
    """Writes a figure to a .png, .pdf or .svg file, atomically.

    Raises:
      DistaxError: the suffix is another one, or the file cannot be written.
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
    """Draws a row for each image: the image, its targets, their rendered image, the residual.

    Args:
      path: the figure's file, .png, .pdf or .svg.
      images: images in counts; only the first `MAX_ROWS` are drawn.
      found: targets `[N, K]`.
      sensor: sensor that renders the targets, with clipping but without noise and rounding.
      names: titles of the images.
      truth: true targets `[N, M]`. Default: none are drawn.

    Raises:
      DistaxError: the suffix is another one, or the file cannot be written.
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
    """Draws the rows of `draw_unmixing` on a figure or subfigure, `ROW_SIZE` inches each."""
    rows = min(len(images), MAX_ROWS)
    found_rows = jax.tree.map(lambda leaf: leaf[:rows], found)
    rendered, deviation = compare(images[:rows], found_rows, sensor)
    for row, axes in enumerate(figure.subplots(rows, 4, squeeze=False)):
        top = np.max(images[row], initial=1.0, where=np.isfinite(images[row]))
        for ax, picture in zip(axes, (images[row], images[row], rendered[row]), strict=False):
            shown = ax.imshow(picture, cmap="gray", vmin=0, vmax=top)
        limits = {"vmin": -MAX_DEVIATION, "vmax": MAX_DEVIATION}
        residual = axes[3].imshow(deviation[row], cmap="RdBu_r", **limits)
        for ax in axes:
            ax.set(xlabel="column / px", ylabel="row / px")
            ax.locator_params(integer=True)
        # Dollar signs in a file's name do not start mathematics.
        axes[0].set_title(elide(names[row], _TITLE), parse_math=False)
        axes[1].set_title(format_count(found, row))
        axes[2].set_title("image of the targets")
        axes[3].set_title("residual")
        zoom_on_targets(axes[1], found, truth, row)
        add_bar(axes[2], shown, "counts")
        add_bar(axes[3], residual, "σ of the noise")


def add_bar(ax: "Axes", shown: "ScalarMappable", label: str, **style: Any) -> "Colorbar":
    """Adds a colour bar that is as high as its axes."""
    return ax.figure.colorbar(shown, cax=ax.inset_axes((1.03, 0, 0.04, 1)), label=label, **style)


def compare(
    images: Float[np.ndarray, "N height width"], found: Targets, sensor: Sensor
) -> tuple[Float[np.ndarray, "N height width"], Float[np.ndarray, "N height width"]]:
    """Renders targets `[N, K]`, and compares the images with them.

    Returns:
      The expected counts, clipped but not rounded, and the residual in standard deviations of
      noise and rounding.
    """
    clip = float(sensor.clip_level)
    unrounded = replace(sensor, bit_depth=None, saturation=clip if math.isfinite(clip) else None)
    noise_free = replace(unrounded, read_noise=0.0, gain=None)
    expected = expose(jax.random.key(0), render(found, noise_free), noise_free)
    deviation = (images - np.asarray(expected)) / np.sqrt(sensor.total_variance(expected))
    return np.asarray(expected), np.asarray(deviation)


def format_count(found: Targets, row: int) -> str:
    """Formats the number of targets of an image as a title."""
    return f"{plural(int(found.count[row]), 'target')} found"


def zoom_on_targets(ax, found: Targets, truth: Targets | None, row: int) -> None:
    """Marks an image's targets with error ellipses and limits the axes to their surroundings.

    Args:
      ax: matplotlib axes that show the image, columns to the right and rows downwards.
      found: targets `[N, K]`; without covariances, no ellipses are drawn.
      truth: true targets `[N, M]`; None if unknown.
      row: index of the image.
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
        ax.plot([], [], **ELLIPSE, label=f"{REGION:.0%} error ellipse")
    everything = np.concatenate(positions)
    if len(everything):
        left, right, bottom, top = surroundings(everything)
        ax.set(xlim=(left, right), ylim=(bottom, top))
        ax.legend(loc="upper right", fontsize="small")


def draw_evaluation(path: Path, result: Evaluation) -> None:
    """Writes `evaluation_figure` to a file.

    Args:
      path: the figure's file, .png, .pdf or .svg.
      result: the evaluation.

    Raises:
      DistaxError: the suffix is another one, or the file cannot be written.
    """
    save_figure(path, evaluation_figure(result))


def evaluation_figure(result: Evaluation) -> "Figure":
    """Returns a figure of position errors, coverage of credible regions and hit probabilities.

    Errors are shown beside the Cramér–Rao bound by number of targets. Coverage and hit
    probabilities are shown if the estimator states them. A notebook displays the figure.
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
    ax.plot(list(groups), bounds, "s--", label="Cramér–Rao bound")
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
    ax.set(xlabel="nominal probability of the region", ylabel="share of true targets inside")
    ax.set_title("Credible regions")


def _draw_reliability(ax, result: Evaluation) -> None:
    _draw_diagonal(ax)
    for radius, curve in (result.reliability or {}).items():
        stated, detections = np.clip(curve["reported"], 0, 1), np.array(curve["detections"])
        # Standard deviation of the realised share if the stated probabilities are right.
        chance = np.sqrt(stated * (1 - stated) / detections)
        label = f"within {radius} px"
        ax.errorbar(
            stated, curve["realised"], chance, fmt="o-", markersize=4, linewidth=0.7, label=label
        )
    ax.set(xlabel="stated hit probability", ylabel="share of hits")
    ax.set_title("Hit probabilities")


def _draw_diagonal(ax) -> None:
    ax.plot([0, 1], [0, 1], color="grey", linewidth=1, label="calibrated")
    ax.set(xlim=(0, 1.01), ylim=(0, 1.01), aspect="equal")
