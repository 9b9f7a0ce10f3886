"""Pictures of frames and images for a report."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import numpy as np
from jaxtyping import Float

from distax.imaging.sensor import Sensor
from distax.imaging.targets import Targets
from distax.runtime.optional import require
from distax.viz.frame_figures import WIDTHS, FramePicture, draw_frame
from distax.viz.overlays import REGION

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DEVIATIONS = 5.0
"""Standard deviations of the noise at which a residual's colours end."""
_ELLIPSES = f"Gold ellipses hold a target with a probability of {REGION:.0%}"


@dataclass(frozen=True)
class Picture:
    """A picture as bytes of a PNG, a caption, and what it shows for those who cannot see it."""

    png: bytes
    caption: str
    alternative: str


def frame_picture(frame: FramePicture, residual: FramePicture) -> Picture:
    """A frame with its blobs' numbers, its most crowded blobs, and below them what is left."""
    require("matplotlib", "pictures")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 8.2), layout="constrained")
    axes = figure.subplots(2, len(WIDTHS), width_ratios=WIDTHS)
    draw_frame(axes[0], frame)
    axes[0, 0].set_title("frame")
    _draw_residual(axes[1], residual)
    targets, blobs = len(frame.found.blob), len(frame.found.blobs.pixel)
    return Picture(
        png=_png(figure),
        caption=(
            "Above: the frame with the numbers of its blobs, and the blobs with the most targets. "
            f"{_ELLIPSES}. Below: what is left without background and targets, in units of the "
            "background's noise."
        ),
        alternative=f"A frame with {targets} targets in {blobs} blobs, and its residual",
    )


def _draw_residual(axes: np.ndarray, residual: FramePicture) -> None:
    noise = max(float(np.median(residual.found.background.noise)), 1e-6)
    views = [("residual", residual.pixels, residual.extent)]
    for blob, pixels in residual.zooms.items():
        views.append((f"residual of blob {blob}", pixels, residual.zoom_extent(blob)))
    for ax in axes[len(views) :]:
        ax.set_axis_off()
    for ax, (title, pixels, extent) in zip(axes, views, strict=False):
        _show(ax, pixels / noise, _DEVIATIONS, "standard deviations", extent)
        ax.set_title(title)


def _show(ax, residual: np.ndarray, limit: float, label: str, extent=None) -> None:
    """Show a residual in colours that end at a limit on either side."""
    style = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit, "interpolation": "nearest"}
    shown = ax.imshow(residual, extent=extent, **style)
    ax.set(xlabel="column / px", ylabel="row / px")
    ax.figure.colorbar(shown, ax=ax, label=label, shrink=0.8)


def image_pictures(
    images: Float[np.ndarray, "N height width"], found: Targets, sensor: Sensor
) -> Iterator[Picture]:
    """A picture an image: the image, its targets from near by, and what is left without them.

    Args:
      images: `[N, height, width]`.
      found: targets of these and perhaps further images.
      sensor: for the image of the targets, with its clipping and rounding but no noise.
    """
    require("matplotlib", "pictures")
    from matplotlib.figure import Figure

    from distax.viz.figures import count_text, noise_free, zoom_on_targets

    found = jax.tree.map(lambda leaf: leaf[: len(images)], found)
    left = images - np.asarray(noise_free(found, sensor))
    for row, image in enumerate(images):
        figure = Figure(figsize=(13, 4), layout="constrained")
        axes = figure.subplots(1, 3)
        for ax, title in zip(axes, ("image", count_text(found, row)), strict=False):
            shown = ax.imshow(image, cmap="gray")
            ax.set(title=title, xlabel="column / px", ylabel="row / px")
        zoom_on_targets(axes[1], found, None, row)
        figure.colorbar(shown, ax=axes[1], label="counts", shrink=0.8)
        _show(axes[2], left[row], max(float(np.nanmax(np.abs(left[row]))), 1.0), "counts")
        axes[2].set_title("residual")
        yield Picture(
            png=_png(figure),
            caption=f"The image, its targets, and what is left without them. {_ELLIPSES}, where "
            "the method knows its errors.",
            alternative=f"An image, {count_text(found, row)}, and its residual",
        )


def _png(figure: "Figure") -> bytes:
    """The same bytes for the same picture, whoever draws it."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=90, metadata={"Software": None})
    return file.getvalue()
