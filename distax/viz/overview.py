"""The overview of a frame in a figure, readable with any number of targets."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from distax.runtime.optional import require
from distax.viz.ellipses import draw_ellipses
from distax.viz.figures import add_bar
from distax.viz.frame_pixels import ZOOMS, FramePicture
from distax.viz.ranking import best_targets, doubt

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SOFTENING = 5.0
"""Standard deviations of the noise above which greys turn from linear to logarithmic, so that faint
and bright targets are both visible."""

MOST_MARKED = 1000
"""Largest number of targets that are all marked. More would cover the frame."""
BEST_MARKED = 30
"""Targets that are marked if there are more: the most trustworthy."""
_MOST_NUMBERED = 30
"""Largest number of blobs that are all numbered. Of more, those with a close-up are."""
_COVERED = 0.1
"""Largest share of the axes that markers cover together. A larger one hides the frame."""
_SMALLEST, _LARGEST = 4.0, 70.0
"""Smallest and largest area of a marker in square points."""
_CELLS = 40
"""Cells of the density along the columns. More show single targets, fewer hide clusters."""
_OPACITY = 0.1, 0.85
"""Opacity of cells with few and with many targets. The frame is visible between clusters."""
_LEGEND = 0.5
"""Inches from the axes to the legend, which leave room for the columns and their label."""
_TRUSTED, _DOUBTED = "#ff9f1c", "#4cc9f0"
"""Colours of the marks of targets without and with a flag. Both stand out on every grey."""


def draw_overview(ax: "Axes", picture: FramePicture) -> None:
    """Draws a frame and its targets.

    Up to `MOST_MARKED` targets are all marked, with error ellipses. More targets are drawn as a
    density, on which the `BEST_MARKED` most trustworthy are marked.
    """
    require("matplotlib", "figures")
    from matplotlib.colors import AsinhNorm

    low, high = picture.limits
    norm = AsinhNorm(linear_width=SOFTENING * picture.noise, vmin=low, vmax=high)
    style: dict[str, Any] = {"cmap": "gray", "interpolation": "nearest", "extent": picture.extent}
    shown = ax.imshow(picture.pixels, norm=norm, **style)
    order = best_targets(picture.found)
    if len(order) > MOST_MARKED:
        _draw_density(ax, picture)
        order = order[:BEST_MARKED]
    else:
        bar = add_bar(ax, shown, "counts above the background")
        decades = 10.0 ** np.arange(math.floor(math.log10(norm.linear_width)), 12)
        marks = [0.0, *(mark for decade in decades for mark in (decade, 3 * decade))]
        bar.set_ticks([mark for mark in marks if mark <= high], minor=False)
        bar.ax.yaxis.set_major_formatter("{x:g}")
        bar.minorticks_off()
    _mark(ax, picture, order)
    _number_blobs(ax, picture)
    ax.set(xlabel="column / px", ylabel="row / px")


def _draw_density(ax: "Axes", picture: FramePicture) -> None:
    """Draws the number of targets in each hexagonal cell that holds one."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    row, column = picture.found.targets.position.T
    left, right, bottom, top = picture.extent
    rows = max(2, round(_CELLS * (bottom - top) / (right - left) / math.sqrt(3)))
    colours = colormaps["viridis"](np.linspace(0.1, 0.8, 256))
    colours[:, 3] = np.linspace(*_OPACITY, 256)
    cells = ax.hexbin(
        *(column, row),
        gridsize=(_CELLS, rows),
        extent=(left, right, top, bottom),
        mincnt=1,
        cmap=ListedColormap(colours),
        linewidths=0,
    )
    counts = np.asarray(cells.get_array())
    # One crowded cell does not make all others dark.
    cells.set_clim(0, max(2.0, float(np.percentile(counts, 99))))
    extend = "max" if counts.max() > cells.get_clim()[1] else "neither"
    bar = add_bar(ax, cells, "targets in a cell", extend=extend)
    bar.ax.locator_params(axis="y", integer=True)
    ax.set(xlim=(left, right), ylim=(bottom, top))


def _mark(ax: "Axes", picture: FramePicture, order: np.ndarray) -> None:
    """Marks targets in the colour of trust or of doubt, smaller if there are many."""
    targets = picture.found.targets
    position, sure = targets.position[order], doubt(picture.found.flags[order]) == 0
    # Labels and bars leave about half of the figure to the axes.
    points = (72 / ax.figure.dpi) ** 2 * ax.figure.bbox.width * ax.figure.bbox.height / 2
    size = min(max(_COVERED * points / max(len(order), 1), _SMALLEST), _LARGEST)
    some = len(order) < len(targets.position)
    for chosen, colour, label in (
        (sure, _TRUSTED, "without a flag"),
        (~sure, _DOUBTED, "with a flag"),
    ):
        if not chosen.any():
            continue
        text = f"{np.sum(chosen)} targets {label}" + (" (the most trustworthy)" if some else "")
        style: dict[str, Any] = {"facecolors": "none", "edgecolors": colour, "linewidths": 1.2}
        ax.scatter(position[chosen, 1], position[chosen, 0], s=size, label=text, **style)
    if targets.covariance is not None and not some:
        draw_ellipses(ax, position, targets.covariance[order])
    if len(order):
        _draw_legend(ax)


def _draw_legend(ax: "Axes") -> None:
    """Draws the legend below the label of the columns, however low the axes are."""
    from matplotlib.transforms import ScaledTranslation

    below = ax.transAxes + ScaledTranslation(0, -_LEGEND, ax.figure.dpi_scale_trans)
    style: dict[str, Any] = {"fontsize": "small", "frameon": False, "borderaxespad": 0}
    ax.legend(loc="upper left", bbox_to_anchor=(0, 0), bbox_transform=below, **style)


def _number_blobs(ax: "Axes", picture: FramePicture) -> None:
    """Writes the numbers of all blobs, or of those with a close-up, inside the axes."""
    pixel = picture.found.blobs.pixel
    few = len(pixel) <= _MOST_NUMBERED
    left, right, bottom, top = picture.extent
    for blob in range(len(pixel)) if few else picture.closeups.blob[:ZOOMS].tolist():
        row, column = pixel[blob].tolist()
        # Away from the nearer edge, so that no number leaves the axes.
        rightmost = column > left + 0.9 * (right - left)
        uppermost = row < top + 0.1 * (bottom - top)
        ax.annotate(
            str(blob),
            (column, row),
            xytext=(-6 if rightmost else 6, -6 if uppermost else 6),
            textcoords="offset points",
            ha="right" if rightmost else "left",
            va="top" if uppermost else "bottom",
            color="white",
            fontsize="small",
            fontweight="bold",
            bbox={"facecolor": "#00000099", "edgecolor": "none", "pad": 1},
        )
