"""Pictures of frames, the targets in them, and their most crowded blobs."""

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
from distax.viz import figures
from distax.viz.overlays import draw_ellipses

if TYPE_CHECKING:
    from matplotlib.figure import Figure, FigureBase

MAX_FRAMES = 4
"""Frames that are drawn at most."""
ROW_SIZE = (15.0, 4.2)
"""Width and height in inches of what is drawn of a frame."""
ZOOMS = 3
"""Blobs drawn beside each frame."""
WIDTHS = (1.6, *[1.0] * ZOOMS)
"""Of the pictures in a row, relative to each other."""
_ZOOM = 11
"""Pixels along the edge of such a blob's picture."""
_LONGEST = 1200
"""Pixels along the longer edge of a frame's picture, at most; larger frames are thinned."""
_NUMBERED = 50
"""Blobs that are numbered at most, the most significant ones: more could not be read."""


@dataclass(frozen=True)
class FramePicture:
    """What is drawn of a frame, so that it need not stay open.

    Attributes:
      name: its title.
      pixels: every `step`-th row and column of it.
      zooms: pixels around its most crowded blobs, by number of the blob.
    """

    name: str
    pixels: Float[np.ndarray, "rows columns"]
    step: int
    zooms: dict[int, Float[np.ndarray, "_ _"]]
    found: FrameTargets

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Edges of the frame in pixels, as matplotlib wants them."""
        height, width = self.found.background.shape
        return -0.5, width - 0.5, height - 0.5, -0.5

    def zoom_extent(self, blob: int) -> tuple[float, float, float, float]:
        """Edges of what is shown around a blob."""
        row, column = np.maximum(self.found.blobs.pixel[blob] - _ZOOM // 2, 0).tolist()
        height, width = self.zooms[blob].shape
        return column - 0.5, column + width - 0.5, row + height - 0.5, row - 0.5


def picture_of(name: str, pixels: Pixels, found: FrameTargets) -> FramePicture:
    """Take from an open frame what `draw_frames` shows of it."""
    height, width = pixels.shape
    step = -(-max(height, width) // _LONGEST)
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
    """A row a frame: the frame with the blobs' numbers, and its most crowded blobs from near by.

    Args:
      path: the picture, .png, .pdf or .svg.
      pictures: what `picture_of` took.

    Raises:
      DistaxError: another suffix, or the picture cannot be written.
    """
    width, height = ROW_SIZE
    figure = _figure(width, height * len(pictures))
    draw_frame_rows(figure, pictures)
    figures.save_figure(path, figure)


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    # With matplotlib's own padding, labels beside pictures of a fixed aspect lose their edges.
    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.12))


def draw_frame_rows(figure: "FigureBase", pictures: Sequence[FramePicture]) -> None:
    """Draw what `draw_frames` does on a figure or a part of one, `ROW_SIZE` inches a row."""
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
    """What `draw_frames` draws, and below it what `figures.draw_unmixing` does.

    Args:
      path: the picture, .png, .pdf or .svg.
      pictures: of frames.
      images, found, sensor, names: as for `figures.draw_unmixing`.

    Raises:
      DistaxError: another suffix, or the picture cannot be written.
    """
    (width, height), (image_width, image_height) = ROW_SIZE, figures.ROW_SIZE
    heights = height * len(pictures), image_height * min(len(images), figures.MAX_ROWS)
    figure = _figure(width, sum(heights))
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=heights)[:, 0]
    draw_frame_rows(above, pictures)
    widths = image_width, width - image_width
    left = below.subfigures(1, 2, squeeze=False, width_ratios=widths)[0, 0]
    figures.draw_image_rows(left, images, found, sensor, names)
    figures.save_figure(path, figure)


def draw_frame(axes: np.ndarray, picture: FramePicture) -> None:
    """Draw a frame on the first of its axes and its most crowded blobs on the others."""
    _draw_whole(axes[0], picture)
    for ax in axes[1 + len(picture.zooms) :]:
        ax.set_axis_off()
    for ax, blob in zip(axes[1:], picture.zooms, strict=False):
        _draw_zoom(ax, picture, blob)


def _draw_whole(ax, picture: FramePicture) -> None:
    level = np.median(picture.found.background.level)
    noise = np.median(picture.found.background.noise)
    limits = {"vmin": level - 3 * noise, "vmax": level + 20 * max(noise, 1e-6)}
    ax.imshow(picture.pixels, cmap="gray", extent=picture.extent, interpolation="nearest", **limits)
    position, pixel = picture.found.targets.position, picture.found.blobs.pixel
    ax.scatter(position[:, 1], position[:, 0], s=60, facecolors="none", edgecolors="red")
    for blob, (row, column) in enumerate(pixel[:_NUMBERED].tolist()):
        place = {"xytext": (6, 4), "textcoords": "offset points"}
        ax.annotate(str(blob), (column, row), color="gold", fontsize="medium", **place)
    ax.set(xlabel="column / px", ylabel="row / px")
    title = f"{picture.name}: {len(position)} targets in {len(pixel)} blobs"
    # A file's name is no mathematics, whatever dollar signs it has.
    ax.set_title(title, parse_math=False)


def _draw_zoom(ax, picture: FramePicture, blob: int) -> None:
    found, extent = picture.found, picture.zoom_extent(blob)
    shown = ax.imshow(picture.zooms[blob], cmap="gray", extent=extent, interpolation="nearest")
    away = np.abs(found.targets.position - found.blobs.pixel[blob])
    near = np.all(away <= _ZOOM, axis=1)
    position, covariance = found.targets.position[near], found.targets.covariance
    ax.scatter(position[:, 1], position[:, 0], s=80, marker="+", color="red", linewidths=1.5)
    draw_ellipses(ax, position, None if covariance is None else covariance[near])
    ax.set(xlim=extent[:2], ylim=extent[2:], xlabel="column / px", ylabel="row / px")
    ax.set_title(f"blob {blob}: {np.sum(found.blob == blob)} targets")
    ax.figure.colorbar(shown, ax=ax, label="counts", shrink=0.8)
