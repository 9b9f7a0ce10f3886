"""Figures of images with the targets found in them, and of evaluations."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import Array, Float

from distax.evaluation import Evaluation
from distax.imaging.forward import render
from distax.imaging.sensor import Sensor, expose
from distax.imaging.targets import Targets
from distax.runtime.files import atomic_write, check_suffix
from distax.runtime.optional import require

if TYPE_CHECKING:
    from matplotlib.figure import Figure, FigureBase

FORMATS = (".png", ".pdf", ".svg")
"""Suffixes of the figure formats that can be written."""
MAX_ROWS = 8
"""Largest number of images in a figure."""
ROW_SIZE = (9.0, 3.1)
"""Width and height in inches of an image's row in a figure."""
REGION = 0.95
"""Probability that an error ellipse contains its target, for Gaussian errors."""
_ELLIPSE: dict[str, Any] = {"color": "gold", "linewidth": 1.2}
"""Style of error ellipses."""


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
    """Draws a row for each image: the image, its targets and the rendered image of the targets.

    Args:
      path: the figure's file, .png, .pdf or .svg.
      images: images in counts; only the first `MAX_ROWS` are drawn.
      found: targets `[N, K]`.
      sensor: sensor that renders the targets, with clipping and rounding but without noise.
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
    rendered = np.asarray(render_noise_free(found, sensor))
    for row, axes in enumerate(figure.subplots(rows, 3, squeeze=False)):
        top = np.max(images[row], initial=1.0, where=np.isfinite(images[row]))
        for ax, picture in zip(axes, (images[row], images[row], rendered[row]), strict=True):
            shown = ax.imshow(picture, cmap="gray", vmin=0, vmax=top)
            ax.set(xlabel="column / px", ylabel="row / px")
        # Dollar signs in a file's name do not start mathematics.
        axes[0].set_title(names[row], parse_math=False)
        axes[1].set_title(format_count(found, row))
        axes[2].set_title("image of the targets found")
        zoom_on_targets(axes[1], found, truth, row)
        figure.colorbar(shown, ax=axes[2], label="counts")


def render_noise_free(found: Targets, sensor: Sensor) -> jax.Array:
    """Renders targets `[N, K]` to images in counts, clipped and rounded but without noise."""
    noise_free = replace(sensor, read_noise=0.0, gain=None)
    return expose(jax.random.key(0), render(found, noise_free), noise_free)


def format_count(found: Targets, row: int) -> str:
    """Formats the number of targets of an image as a title."""
    count = int(found.count[row])
    return f"{count} target{'' if count == 1 else 's'} found"


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
        ax.plot([], [], **_ELLIPSE, label=f"{REGION:.0%} error ellipse")
    everything = np.concatenate(positions)
    if len(everything):
        centre, reach = everything.mean(axis=0), max(1.0, np.ptp(everything, axis=0).max()) + 0.5
        ax.set_xlim(centre[1] - reach, centre[1] + reach)
        ax.set_ylim(centre[0] + reach, centre[0] - reach)
        ax.legend(loc="upper right", fontsize="small")


def draw_ellipses(
    ax,
    position: Float[Array | np.ndarray, "K 2"],
    covariance: Float[Array | np.ndarray, "K 2 2"] | None,
) -> None:
    """Draws error ellipses of probability `REGION` around targets.

    Args:
      ax: matplotlib axes in pixels, columns to the right and rows downwards.
      position: rows and columns in pixels.
      covariance: covariances of the positions in px²; None draws nothing.
    """
    require("matplotlib", "figures")
    from matplotlib.patches import Ellipse

    if covariance is None:
        return
    variance, axes = np.linalg.eigh(np.asarray(covariance, np.float64))
    # A bivariate Gaussian lies within r standard deviations with probability 1 − exp(−r² / 2).
    diameter = 2 * math.sqrt(-2 * math.log(1 - REGION)) * np.sqrt(np.maximum(variance, 0.0))
    for (row, column), (minor, major), vectors in zip(
        np.asarray(position), diameter, axes, strict=True
    ):
        angle = math.degrees(math.atan2(vectors[0, 1], vectors[1, 1]))
        ax.add_patch(Ellipse((column, row), major, minor, angle=angle, fill=False, **_ELLIPSE))


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
