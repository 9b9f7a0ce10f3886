"""PNG pictures of frames and images for a report."""

import base64
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
from distax.viz.figures import REGION, format_count, render_noise_free, zoom_on_targets
from distax.viz.frame_figures import WIDTHS, FramePicture, draw_frame

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MAX_DEVIATION = 5.0
"""Standard deviations of the noise at which a residual's colours saturate. A larger value hides
weak structure, a smaller one exaggerates noise."""
_ELLIPSES = f"Gold ellipses contain a target with a probability of {REGION:.0%}"


@dataclass(frozen=True)
class Picture:
    """A picture of a report.

    Attributes:
      png: content of a PNG file.
      caption: text below the picture.
      alternative: text in place of the picture, for screen readers.
    """

    png: bytes
    caption: str
    alternative: str

    @property
    def url(self) -> str:
        """Data URL of the PNG."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"


def frame_picture(frame: FramePicture, residual: FramePicture) -> Picture:
    """Draws a frame with numbered blobs and its most crowded blobs, and below them the residual.

    Args:
      frame: the frame's pixels.
      residual: the residual's pixels, with the same targets.
    """
    require("matplotlib", "pictures")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 8.2), layout="constrained")
    axes = figure.subplots(2, len(WIDTHS), width_ratios=WIDTHS)
    draw_frame(axes[0], frame)
    axes[0, 0].set_title("frame")
    _draw_residual(axes[1], residual)
    targets, blobs = len(frame.found.blob), len(frame.found.blobs.pixel)
    return Picture(
        png=_to_png(figure),
        caption=(
            "Above: the frame with the numbers of its blobs, and the blobs with the most targets. "
            f"{_ELLIPSES}. Below: the residual without background and targets, in standard "
            "deviations of the background's noise."
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
        _show_residual(ax, pixels / noise, _MAX_DEVIATION, "standard deviations", extent)
        ax.set_title(title)


def _show_residual(ax, residual: np.ndarray, limit: float, label: str, extent=None) -> None:
    """Shows a residual in diverging colours that saturate at ± the limit."""
    style = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit, "interpolation": "nearest"}
    shown = ax.imshow(residual, extent=extent, **style)
    ax.set(xlabel="column / px", ylabel="row / px")
    ax.figure.colorbar(shown, ax=ax, label=label, shrink=0.8)


def image_pictures(
    images: Float[np.ndarray, "N height width"], found: Targets, sensor: Sensor
) -> Iterator[Picture]:
    """Draws a picture of each image: the image, a close-up of its targets and the residual.

    Args:
      images: images in counts, `[N, height, width]`.
      found: targets of these images, possibly followed by those of further images.
      sensor: sensor that renders the targets, with clipping and rounding but without noise.
    """
    require("matplotlib", "pictures")
    from matplotlib.figure import Figure

    found = jax.tree.map(lambda leaf: leaf[: len(images)], found)
    residual = images - np.asarray(render_noise_free(found, sensor))
    for row, image in enumerate(images):
        figure = Figure(figsize=(13, 4), layout="constrained")
        axes = figure.subplots(1, 3)
        for ax, title in zip(axes, ("image", format_count(found, row)), strict=False):
            shown = ax.imshow(image, cmap="gray")
            ax.set(title=title, xlabel="column / px", ylabel="row / px")
        zoom_on_targets(axes[1], found, None, row)
        figure.colorbar(shown, ax=axes[1], label="counts", shrink=0.8)
        limit = max(float(np.nanmax(np.abs(residual[row]))), 1.0)
        _show_residual(axes[2], residual[row], limit, "counts")
        axes[2].set_title("residual")
        yield Picture(
            png=_to_png(figure),
            caption=f"The image, its targets and the residual without them. {_ELLIPSES}, if the "
            "method states a covariance.",
            alternative=f"An image, {format_count(found, row)}, and its residual",
        )


def _to_png(figure: "Figure") -> bytes:
    """Converts a figure to PNG without metadata, so that equal pictures have equal bytes."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=90, metadata={"Software": None})
    return file.getvalue()
