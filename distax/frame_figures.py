"""Pictures of frames, the targets in them, and their most crowded blobs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from distax.files import whole_file
from distax.frames import FrameTargets
from distax.interop.frames import Pixels

MAX_FRAMES = 4
"""Frames that are drawn at most."""

_ZOOMS = 3
"""Blobs drawn beside each frame."""
_ZOOM = 11
"""Pixels along the edge of such a blob's picture."""
_LONGEST = 1200
"""Pixels along the longer edge of a frame's picture, at most; larger frames are thinned."""


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


def picture_of(name: str, pixels: Pixels, found: FrameTargets) -> FramePicture:
    """Take from an open frame what `draw_frames` shows of it."""
    height, width = pixels.shape
    step = -(-max(height, width) // _LONGEST)
    thinned = [np.asarray(pixels[row : row + 1])[0, ::step] for row in range(0, height, step)]
    members = np.bincount(found.blob, minlength=len(found.blobs.pixel))
    zooms = {}
    for blob in np.argsort(-members, kind="stable")[:_ZOOMS].tolist():
        row, column = np.maximum(found.blobs.pixel[blob] - _ZOOM // 2, 0).tolist()
        rows = np.asarray(pixels[row : row + _ZOOM])
        zooms[blob] = rows[:, column : column + _ZOOM].astype(np.float32)
    return FramePicture(
        name=name, pixels=np.asarray(thinned, np.float32), step=step, zooms=zooms, found=found
    )


def draw_frames(path: Path, pictures: Sequence[FramePicture]) -> None:
    """A row a frame: the frame with the blobs' numbers, and its most crowded blobs from near by.

    Args:
      path: the picture, in any format matplotlib writes.
      pictures: what `picture_of` took.

    Raises:
      DistaxError: the picture cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 4.2 * len(pictures)), layout="constrained")
    widths = [1.6, *[1.0] * _ZOOMS]
    axes = figure.subplots(len(pictures), 1 + _ZOOMS, squeeze=False, width_ratios=widths)
    for row, picture in zip(axes, pictures, strict=True):
        _draw_whole(row[0], picture)
        for ax in row[1:]:
            ax.set_axis_off()
        for ax, blob in zip(row[1:], picture.zooms, strict=False):
            ax.set_axis_on()
            _draw_zoom(ax, picture, blob)
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _draw_whole(ax, picture: FramePicture) -> None:
    height, width = picture.found.background.shape
    level = np.median(picture.found.background.level)
    noise = np.median(picture.found.background.noise)
    limits = {"vmin": level - 3 * noise, "vmax": level + 20 * max(noise, 1e-6)}
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    ax.imshow(picture.pixels, cmap="gray", extent=extent, interpolation="nearest", **limits)
    position = picture.found.targets.position
    ax.scatter(position[:, 1], position[:, 0], s=60, facecolors="none", edgecolors="red")
    blobs = len(picture.found.blobs.pixel)
    ax.set(xlabel="column / px", ylabel="row / px")
    ax.set_title(f"{picture.name}: {len(position)} targets in {blobs} blobs")


def _draw_zoom(ax, picture: FramePicture, blob: int) -> None:
    pixels, found = picture.zooms[blob], picture.found
    row, column = np.maximum(found.blobs.pixel[blob] - _ZOOM // 2, 0)
    height, width = pixels.shape
    extent = (column - 0.5, column + width - 0.5, row + height - 0.5, row - 0.5)
    shown = ax.imshow(pixels, cmap="gray", extent=extent, interpolation="nearest")
    position = found.targets.position
    ax.scatter(position[:, 1], position[:, 0], s=80, marker="+", color="red", linewidths=1.5)
    ax.set(xlim=extent[:2], ylim=extent[2:], xlabel="column / px", ylabel="row / px")
    ax.set_title(f"blob {blob}: {np.sum(found.blob == blob)} targets")
    ax.figure.colorbar(shown, ax=ax, label="counts", shrink=0.8)
