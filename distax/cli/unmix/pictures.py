"""Pictures of the first frames and images of `distax unmix`, for its figure and its report."""

from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np
from jaxtyping import Float

from distax.cli.unmix.answers import Answer, FrameAnswer, Source
from distax.cli.unmix.report import MAX_PICTURES
from distax.frames import FrameTargets
from distax.frames.residual import Residual
from distax.imaging.sensor import Sensor
from distax.imaging.targets import Targets
from distax.io.pixels import Pixels
from distax.runtime.errors import DistaxError
from distax.viz.figures import MAX_ROWS
from distax.viz.frame_figures import MAX_FRAMES
from distax.viz.frame_pixels import ZOOMS, make_frame_picture

if TYPE_CHECKING:
    from distax.viz.frame_pixels import FramePicture
    from distax.viz.report import View

_MAX_BYTES = 20_000_000
"""Size of the frames' pictures above which a report takes no further ones. A larger page opens
slowly."""
_MAX_CLOSEUPS = 10_000
"""Largest number of close-ups of a frame in a report."""


@dataclass
class Pictures:
    """Pictures of the first frames and images, kept until the whole run is unmixed.

    Attributes:
      figure, report: files to write; None for none.
      frames: pictures of frames for the figure.
      views: views of frames for the report.
      images: pixels and targets of images; None for an image that is not unmixed yet.
    """

    figure: Path | None
    report: Path | None
    frames: "list[FramePicture]" = field(default_factory=list)
    views: "dict[Source, View]" = field(default_factory=dict)
    images: dict[Source, tuple[np.ndarray, Targets] | None] = field(default_factory=dict)

    def has_room_for_frame(self) -> bool:
        """Returns True if the figure or the report can take another frame."""
        return self._in_figure(self.frames, MAX_FRAMES) or self._in_report

    def has_room_for_image(self) -> bool:
        """Returns True if the figure or the report can take another image of the sensor's size."""
        return self._in_figure(self.images, MAX_ROWS) or self._in_report

    def _in_figure(self, taken: Sized, most: int) -> bool:
        return self.figure is not None and len(taken) < most

    @property
    def _in_report(self) -> bool:
        if self.report is None or sum(view.size for view in self.views.values()) > _MAX_BYTES:
            return False
        return len(self.views) + len(self.images) < MAX_PICTURES

    def add_frame(
        self, source: Source, pixels: Pixels, found: FrameTargets, residual: Residual
    ) -> None:
        """Keeps the pictures of a frame, if there is room."""
        from distax.viz.report import frame_view

        if not self.has_room_for_frame():
            return
        in_report = self._in_report
        closeups = _MAX_CLOSEUPS if in_report else ZOOMS
        picture = make_frame_picture(_title(source), pixels, residual, found, closeups)
        if in_report:
            self.views[source] = frame_view(picture)
        if self._in_figure(self.frames, MAX_FRAMES):
            self.frames.append(picture)

    def reserve(self, source: Source) -> None:
        """Reserves room for an image that is queued, if there is room."""
        if self.has_room_for_image():
            self.images[source] = None

    def release(self, source: Source) -> None:
        """Gives back the room of an image that has no answer, if any was reserved."""
        self.images.pop(source, None)

    def add_image(
        self, source: Source, pixels: Float[np.ndarray, "height width"], found: Targets
    ) -> None:
        """Keeps an image and its targets, if room was reserved for it."""
        if source in self.images:
            self.images[source] = pixels, found

    def draw(self, sensor: Sensor) -> None:
        """Draws the figure, if one is requested.

        Raises:
          DistaxError: there is nothing to draw, or the file cannot be written.
        """
        from distax.viz.figures import draw_unmixing
        from distax.viz.frame_figures import draw_frames, draw_frames_and_images

        images = self._unmixed_images(MAX_ROWS)
        if self.figure is None:
            return
        if not (self.frames or images):
            raise DistaxError(f"{self.figure}: not drawn: no image or frame was unmixed")
        if not images:
            return draw_frames(self.figure, self.frames)
        names = [_title(source) for source in images]
        shown = (*_stack(images), sensor, names)
        if self.frames:
            return draw_frames_and_images(self.figure, self.frames, *shown)
        draw_unmixing(self.figure, *shown)

    def write_report(
        self, answers: Sequence[Answer | FrameAnswer], header: Mapping[str, str], sensor: Sensor
    ) -> None:
        """Writes the report on all answers, if one is requested.

        Raises:
          DistaxError: the file cannot be written.
        """
        from distax.cli.unmix.report import unmixing_report
        from distax.runtime.files import write_text
        from distax.viz.report import image_views

        if self.report is None:
            return
        shown = dict(self.views)
        if images := self._unmixed_images(MAX_PICTURES - len(shown)):
            names = [f"Image {number}" for _, number in images]
            shown |= zip(images, image_views(*_stack(images), sensor, names), strict=True)
        write_text(self.report, unmixing_report(answers, shown, header))

    def _unmixed_images(self, most: int) -> dict[Source, tuple[np.ndarray, Targets]]:
        """Returns the first images that are unmixed, at most `most`."""
        known = {source: shown for source, shown in self.images.items() if shown}
        return dict(list(known.items())[:most])


def _stack(
    images: dict[Source, tuple[np.ndarray, Targets]],
) -> tuple[Float[np.ndarray, "N height width"], Targets]:
    stacked: tuple[np.ndarray, Targets] = jax.tree.map(
        lambda *leaves: np.stack(leaves), *images.values()
    )
    return stacked


def _title(source: Source) -> str:
    """Returns the title of a picture."""
    path, number = source
    return f"{path.name} [{number}]"
