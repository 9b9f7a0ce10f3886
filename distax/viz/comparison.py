"""Pictures that compare several methods' answers to the same images with the truth."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np
from jaxtyping import Float

from distax.imaging.targets import Targets
from distax.runtime.optional import require
from distax.viz.ellipses import draw_ellipses
from distax.viz.figures import save_figure

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

_REACH = 0.95
"""Half the width in pixels of the part of an image that is shown: a host pixel with a margin."""
_PANEL = (2.45, 2.55)
"""Width and height in inches of a panel; with five columns, text is legible at half the size."""
_ELLIPSE = "darkorange"


def draw_comparison(
    path: Path,
    images: Float[np.ndarray, "N height width"],
    answers: Mapping[str, Targets],
    truth: Targets,
    factor: int = 3,
) -> None:
    """Draws a row of panels for each method and a column for each image.

    A panel shows the pixels around the true targets, the true targets and the answer. If the method
    gives a covariance, the panel also shows the 95% error ellipses, otherwise the nodes of the
    sub-pixel grid.

    Args:
      path: the picture, .png, .pdf or .svg, written atomically.
      images: raw counts.
      answers: by the title of their row, targets `[N, K]`.
      truth: true targets `[N, M]`.
      factor: grid nodes per pixel along each axis.

    Raises:
      DistaxError: another suffix, or the picture cannot be written.
    """
    require("matplotlib", "figures")
    from matplotlib.figure import Figure

    width, height = _PANEL
    size = (width * len(images) + 0.6, height * len(answers) + 0.8)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(answers), len(images), squeeze=False)
    for axes, (title, found) in zip(panels, answers.items(), strict=True):
        axes[0].set_ylabel(title, fontsize=12)
        for index, ax in enumerate(axes):
            _draw_panel(ax, images[index], _image(found, index), _image(truth, index), factor)
    for ax, count in zip(panels[0], np.sum(truth.mask, axis=-1), strict=True):
        ax.set_title(f"{count} target{'s' * int(count > 1)}", fontsize=12)
    entries: dict[str, Artist] = {}
    for ax in panels[:, 0]:
        handles, labels = ax.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    figure.legend(
        entries.values(), entries.keys(), loc="outside lower center", ncols=4, fontsize=12
    )
    save_figure(path, figure)


def _image(targets: Targets, index: int) -> Targets:
    """Returns the targets of one image."""
    return jax.tree.map(lambda leaf: np.asarray(leaf[index]), targets)


def _draw_panel(
    ax: "Axes",
    image: Float[np.ndarray, "height width"],
    found: Targets,
    truth: Targets,
    factor: int,
) -> None:
    # Bright pixels are grey on white, so that the coloured marks are visible on both.
    ax.imshow(image, cmap="Greys", vmin=0, vmax=max(3 * float(np.max(image)), 1.0))
    true, answer = truth.position[truth.mask], found.position[found.mask]
    centre = np.mean(true, axis=0) if len(true) else (np.array(image.shape) - 1) / 2
    if found.covariance is None:
        _draw_nodes(ax, centre, factor)
    else:
        draw_ellipses(ax, answer, found.covariance[found.mask])
        for ellipse in ax.patches:
            ellipse.set(edgecolor=_ELLIPSE, linewidth=2)
        ax.plot([], [], color=_ELLIPSE, linewidth=2, label="95% error ellipse")
    ax.scatter(true[:, 1], true[:, 0], s=40, color="tab:blue", label="true target")
    ax.scatter(
        answer[:, 1], answer[:, 0], s=110, marker="+", color="tab:red", linewidths=2, label="answer"
    )
    ax.set_xlim(centre[1] - _REACH, centre[1] + _REACH)
    ax.set_ylim(centre[0] + _REACH, centre[0] - _REACH)
    ax.set(xticks=[], yticks=[])


def _draw_nodes(ax: "Axes", centre: Float[np.ndarray, "2"], factor: int) -> None:
    """Draws the grid's nodes within reach of a point."""
    steps = np.arange(-2 * factor, 2 * factor + 1) / factor
    rows, columns = np.meshgrid(*(np.round(centre)[:, None] + steps), indexing="ij")
    ax.scatter(columns, rows, s=7, color="grey", zorder=1, label="grid node")
