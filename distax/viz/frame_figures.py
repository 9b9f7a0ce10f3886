"""Figures of frames with their targets, and close-ups of their most interesting blobs."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from distax.imaging.sensor import Sensor
from distax.imaging.targets import Targets
from distax.runtime.optional import require
from distax.viz import figures
from distax.viz.ellipses import draw_ellipses, surroundings
from distax.viz.figures import MAX_DEVIATION, add_bar
from distax.viz.frame_pixels import ZOOMS, FramePicture
from distax.viz.overview import draw_overview
from distax.viz.titles import elide, plural

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, FigureBase

MAX_FRAMES = 4
"""Largest number of frames in a figure."""
ROW_SIZE = (15.0, 6.2)
"""Width and height in inches of a frame's row in a figure."""
_PANELS = ("data", "targets", "model", "residual")
"""Panels of a close-up."""
_WIDTHS = (5.6, 9.4)
"""Relative widths of the overview and of the close-ups."""


def draw_frames(path: Path, pictures: Sequence[FramePicture]) -> None:
    """Draws a row for each frame: an overview, and its most interesting blobs.

    A row of panels shows a blob's counts, its targets with error ellipses, the counts of the model,
    and the residual.

    Args:
      path: the figure's file, .png, .pdf or .svg.
      pictures: the frames' pixels, from `frame_pixels.make_frame_picture`.

    Raises:
      DistaxError: the suffix is another one, or the file cannot be written.
    """
    width, height = ROW_SIZE
    figure = _make_figure(width, height * len(pictures))
    draw_frame_rows(figure, pictures)
    figures.save_figure(path, figure)


def _make_figure(width: float, height: float) -> "Figure":
    require("matplotlib", "figures")
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    # Matplotlib's default padding cuts off labels beside panels of a fixed aspect.
    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.12))


def draw_frame_rows(figure: "FigureBase", pictures: Sequence[FramePicture]) -> None:
    """Draws the rows of `draw_frames` on a figure or subfigure, `ROW_SIZE` inches each."""
    rows = figure.subfigures(len(pictures), 1, squeeze=False)[:, 0]
    for row, picture in zip(rows, pictures, strict=True):
        targets, blobs = len(picture.found.blob), len(picture.found.blobs.pixel)
        title = f"{elide(picture.name)}: {targets:,} targets in {blobs:,} blobs"
        # Dollar signs in a file's name do not start mathematics.
        row.suptitle(title, parse_math=False)
        left, right = row.subfigures(1, 2, width_ratios=_WIDTHS)
        draw_overview(left.subplots(), picture)
        axes = right.subplots(ZOOMS, len(_PANELS), squeeze=False)
        for ax in axes[len(picture.closeups.blob) :].flat:
            ax.set_axis_off()
        for index, line in enumerate(axes[: len(picture.closeups.blob)]):
            _draw_closeup(line, picture, index)
        for ax, name in zip(axes[0], _PANELS, strict=True):
            ax.set_title(name, fontsize="medium")


def draw_frames_and_images(
    path: Path,
    pictures: Sequence[FramePicture],
    images: Float[np.ndarray, "N height width"],
    found: Targets,
    sensor: Sensor,
    names: Sequence[str],
) -> None:
    """Draws the rows of `draw_frames`, and below them those of `figures.draw_unmixing`.

    Args:
      path: the figure's file, .png, .pdf or .svg.
      pictures: the frames' pixels.
      images, found, sensor, names: as for `figures.draw_unmixing`.

    Raises:
      DistaxError: the suffix is another one, or the file cannot be written.
    """
    (width, height), (image_width, image_height) = ROW_SIZE, figures.ROW_SIZE
    heights = height * len(pictures), image_height * min(len(images), figures.MAX_ROWS)
    figure = _make_figure(width, sum(heights))
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=heights)[:, 0]
    draw_frame_rows(above, pictures)
    widths = image_width, width - image_width
    left = below.subfigures(1, 2, squeeze=False, width_ratios=widths)[0, 0]
    figures.draw_image_rows(left, images, found, sensor, names)
    figures.save_figure(path, figure)


def _draw_closeup(axes: np.ndarray, picture: FramePicture, index: int) -> None:
    """Draws a blob: its data, the pixels around its targets, its model and its residual."""
    closeups, found = picture.closeups, picture.found
    data, model, extent = closeups.data[index], closeups.model[index], closeups.extent(index)
    known = data[np.isfinite(data)]
    low, high = (known.min(), known.max()) if known.size else (0.0, 1.0)
    style = {"extent": extent, "interpolation": "nearest"}
    grey = style | {"cmap": "gray", "vmin": low, "vmax": max(high, low + 1e-6)}
    hues = style | {"cmap": "RdBu_r", "vmin": -MAX_DEVIATION, "vmax": MAX_DEVIATION}
    shown = [ax.imshow(data, **grey) for ax in axes[:2]]
    axes[2].imshow(model, **grey)
    residual = axes[3].imshow(closeups.deviation[index], **hues)
    add_bar(axes[0], shown[0], "counts")
    add_bar(axes[3], residual, "σ of the noise")
    for ax in axes:
        ax.set(xlim=extent[:2], ylim=extent[2:])
        # The colour of pixels beyond the frame.
        ax.set_facecolor("#d5d9de")
        ax.tick_params(labelsize="small")
        ax.locator_params(integer=True, nbins=5)
    blob = int(closeups.blob[index])
    own = np.asarray(found.targets.position[found.blob == blob])
    _mark_targets(axes[1], picture, surroundings(own if len(own) else closeups.corner))
    axes[0].set_ylabel(f"blob {blob}: {plural(len(own), 'target')}\nrow / px")
    if index == len(closeups.blob[:ZOOMS]) - 1:
        for ax in axes:
            ax.set_xlabel("column / px")


def _mark_targets(ax: "Axes", picture: FramePicture, extent: tuple[float, ...]) -> None:
    """Shows a part of a frame, and marks the targets there with crosses and error ellipses."""
    left, right, bottom, top = extent
    targets = picture.found.targets
    row, column = targets.position.T
    near = (row > top) & (row < bottom) & (column > left) & (column < right)
    ax.scatter(column[near], row[near], s=50, marker="+", color="red", linewidths=1.2)
    covariance = None if targets.covariance is None else targets.covariance[near]
    draw_ellipses(ax, targets.position[near], covariance)
    ax.set(xlim=(left, right), ylim=(bottom, top))
