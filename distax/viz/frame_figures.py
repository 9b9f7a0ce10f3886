"""Figures of frames with their targets, and close-ups of their most crowded blobs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from distax.frames import FrameTargets
from distax.imaging.sensor import Sensor
from distax.imaging.targets import Targets
from distax.io.pixels import Pixels
from distax.runtime.optional import require
from distax.viz import figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure, FigureBase

MAX_FRAMES = 4
"""Largest number of frames in a figure."""
ROW_SIZE = (15.0, 4.2)
"""Width and height in inches of a frame's row in a figure."""
ZOOMS = 3
"""Close-ups of blobs beside each frame."""
WIDTHS = (1.6, *[1.0] * ZOOMS)
"""Relative widths of the panels in a row."""
_ZOOM = 11
"""Height and width of a close-up in pixels. A larger one shows more neighbours in less detail."""
_MAX_EDGE = 1200
"""Longest edge of a drawn frame in pixels; larger frames are thinned. More pixels need more memory
and exceed the figure's resolution."""
_MAX_NUMBERS = 50
"""Largest number of blobs with a number, the most significant first; more would be illegible."""


@dataclass(frozen=True)
class FramePicture:
    """The pixels of a frame that a figure needs, so that the file may be closed.

    Attributes:
      name: the frame's title.
      pixels: every `step`-th row and column of the frame.
      step: rows and columns per drawn pixel.
      zooms: pixels around the most crowded blobs, by number of the blob.
      found: the frame's targets, blobs and background.
    """

    name: str
    pixels: Float[np.ndarray, "rows columns"]
    step: int
    zooms: dict[int, Float[np.ndarray, "_ _"]]
    found: FrameTargets

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top edge of the frame in pixels, for matplotlib."""
        height, width = self.found.background.shape
        return -0.5, width - 0.5, height - 0.5, -0.5

    def zoom_extent(self, blob: int) -> tuple[float, float, float, float]:
        """Returns the left, right, bottom and top edge of a blob's close-up in pixels."""
        row, column = np.maximum(self.found.blobs.pixel[blob] - _ZOOM // 2, 0).tolist()
        height, width = self.zooms[blob].shape
        return column - 0.5, column + width - 0.5, row + height - 0.5, row - 0.5


def make_frame_picture(name: str, pixels: Pixels, found: FrameTargets) -> FramePicture:
    """Reads from an open frame the pixels that `draw_frames` shows.

    Args:
      name: the frame's title.
      pixels: the frame `[height, width]`, read by rows.
      found: the frame's targets.
    """
    height, width = pixels.shape
    step = -(-max(height, width) // _MAX_EDGE)
    thinned = [np.asarray(pixels[row : row + 1])[0, ::step] for row in range(0, height, step)]
    members = np.bincount(found.blob, minlength=len(found.blobs.pixel))
    zooms = {}
    for blob in np.argsort(-members, kind="stable")[:ZOOMS].tolist():
        row, column = np.maximum(found.blobs.pixel[blob] - _ZOOM // 2, 0).tolist()
        rows = np.asarray(pixels[row : row + _ZOOM])
        zooms[blob] = rows[:, column : column + _ZOOM].astype(np.float32)
    return FramePicture(
        name=name, pixels=np.asarray(thinned, np.float32), step=step, zooms=zooms, found=found
    )


def draw_frames(path: Path, pictures: Sequence[FramePicture]) -> None:
    """Draws a row for each frame: the frame with numbered blobs, and its most crowded blobs.

    Args:
      path: the figure's file, .png, .pdf or .svg.
      pictures: the frames' pixels, from `make_frame_picture`.

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
    axes = figure.subplots(len(pictures), 1 + ZOOMS, squeeze=False, width_ratios=WIDTHS)
    for row, picture in zip(axes, pictures, strict=True):
        draw_frame(row, picture)


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


def draw_frame(axes: np.ndarray, picture: FramePicture) -> None:
    """Draws a frame on the first of its axes and its most crowded blobs on the others."""
    _draw_full_frame(axes[0], picture)
    for ax in axes[1 + len(picture.zooms) :]:
        ax.set_axis_off()
    for ax, blob in zip(axes[1:], picture.zooms, strict=False):
        _draw_zoom(ax, picture, blob)


def _draw_full_frame(ax, picture: FramePicture) -> None:
    level = np.median(picture.found.background.level)
    noise = np.median(picture.found.background.noise)
    limits = {"vmin": level - 3 * noise, "vmax": level + 20 * max(noise, 1e-6)}
    ax.imshow(picture.pixels, cmap="gray", extent=picture.extent, interpolation="nearest", **limits)
    position, pixel = picture.found.targets.position, picture.found.blobs.pixel
    ax.scatter(position[:, 1], position[:, 0], s=60, facecolors="none", edgecolors="red")
    for blob, (row, column) in enumerate(pixel[:_MAX_NUMBERS].tolist()):
        place = {"xytext": (6, 4), "textcoords": "offset points"}
        ax.annotate(str(blob), (column, row), color="gold", fontsize="medium", **place)
    ax.set(xlabel="column / px", ylabel="row / px")
    title = f"{picture.name}: {len(position)} targets in {len(pixel)} blobs"
    # Dollar signs in a file's name do not start mathematics.
    ax.set_title(title, parse_math=False)


def _draw_zoom(ax, picture: FramePicture, blob: int) -> None:
    found, extent = picture.found, picture.zoom_extent(blob)
    shown = ax.imshow(picture.zooms[blob], cmap="gray", extent=extent, interpolation="nearest")
    offset = np.abs(found.targets.position - found.blobs.pixel[blob])
    near = np.all(offset <= _ZOOM, axis=1)
    position, covariance = found.targets.position[near], found.targets.covariance
    ax.scatter(position[:, 1], position[:, 0], s=80, marker="+", color="red", linewidths=1.5)
    figures.draw_ellipses(ax, position, None if covariance is None else covariance[near])
    ax.set(xlim=extent[:2], ylim=extent[2:], xlabel="column / px", ylabel="row / px")
    ax.set_title(f"blob {blob}: {np.sum(found.blob == blob)} targets")
    ax.figure.colorbar(shown, ax=ax, label="counts", shrink=0.8)
