"""What `distax unmix` draws: the first frames and images, kept until everything is unmixed."""

from collections.abc import Sequence, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np
from jaxtyping import Float

from distax.cli.unmix.answers import Answer, FrameAnswer
from distax.cli.unmix.estimators import Estimators
from distax.cli.unmix.report import MAX_PICTURES
from distax.cli.unmix.tables import Means
from distax.frames import FrameTargets
from distax.frames.residual import Residual
from distax.imaging.targets import Targets
from distax.io.frames import Pixels
from distax.runtime.errors import DistaxError
from distax.viz.figures import MAX_ROWS
from distax.viz.frame_figures import MAX_FRAMES, picture_of

if TYPE_CHECKING:
    from distax.viz.frame_figures import FramePicture
    from distax.viz.report import Picture

Source = tuple[Path, int]
"""A file, and the number of an image in it."""


@dataclass
class Pictures:
    """Takes from frames and images what a figure and a report show of them, while there is room.

    Attributes:
      figure, report: the files, if they are asked for.
      frames: what the figure shows of frames.
      pages: what the report shows of frames.
      images: pixels and targets of images; None while they wait to be unmixed.
    """

    figure: Path | None
    report: Path | None
    frames: "list[FramePicture]" = field(default_factory=list)
    pages: "dict[Source, Picture]" = field(default_factory=dict)
    images: dict[Source, tuple[np.ndarray, Targets] | None] = field(default_factory=dict)

    def wants_frame(self) -> bool:
        """Whether there is room for another frame."""
        return self._in_figure(self.frames, MAX_FRAMES) or self._in_report

    def wants_image(self) -> bool:
        """Whether there is room for another image of the sensor's size."""
        return self._in_figure(self.images, MAX_ROWS) or self._in_report

    def _in_figure(self, taken: Sized, most: int) -> bool:
        return self.figure is not None and len(taken) < most

    @property
    def _in_report(self) -> bool:
        return self.report is not None and len(self.pages) + len(self.images) < MAX_PICTURES

    def add_frame(
        self, source: Source, pixels: Pixels, found: FrameTargets, residual: Residual
    ) -> None:
        """Take what is shown of a frame, if there is room."""
        from distax.viz.report import frame_picture

        if self._in_report:
            shown = (picture_of("", rows, found) for rows in (pixels, residual))
            self.pages[source] = frame_picture(*shown)
        if self._in_figure(self.frames, MAX_FRAMES):
            self.frames.append(picture_of(_title(source), pixels, found))

    def reserve(self, source: Source) -> None:
        """Keep room for an image that is still to be unmixed, if there is any."""
        if self.wants_image():
            self.images[source] = None

    def add_image(
        self, source: Source, pixels: Float[np.ndarray, "height width"], found: Targets
    ) -> None:
        """Take what is shown of an image for which there is room."""
        if source in self.images:
            self.images[source] = pixels, found

    def draw(self, estimators: Estimators) -> None:
        """Draw the figure, if one is asked for.

        Raises:
          DistaxError: there is nothing to show, or it cannot be written.
        """
        from distax.viz.figures import draw_unmixing
        from distax.viz.frame_figures import draw_frames, draw_frames_and_images

        images = self._unmixed(MAX_ROWS)
        if self.figure is None:
            return
        if not (self.frames or images):
            raise DistaxError(f"{self.figure}: not drawn: nothing was unmixed that it could show")
        if not images:
            return draw_frames(self.figure, self.frames)
        names = [_title(source) for source in images]
        shown = (*_stacked(images), estimators.sensor, names)
        if self.frames:
            return draw_frames_and_images(self.figure, self.frames, *shown)
        draw_unmixing(self.figure, *shown)

    def write_report(self, answers: Sequence[Answer | FrameAnswer], estimators: Estimators) -> None:
        """Write the report on all answers, if one is asked for."""
        from distax.cli.unmix.report import unmixing_report
        from distax.runtime.files import write_text
        from distax.viz.report import image_pictures

        if self.report is None:
            return
        shown = dict(self.pages)
        if images := self._unmixed(MAX_PICTURES - len(shown)):
            pictures = image_pictures(*_stacked(images), estimators.sensor)
            shown |= dict(zip(images, pictures, strict=True))
        header = Means.header(map(estimators.means, answers))
        write_text(self.report, unmixing_report(answers, shown, header))

    def _unmixed(self, most: int) -> dict[Source, tuple[np.ndarray, Targets]]:
        known = {source: shown for source, shown in self.images.items() if shown}
        return dict(list(known.items())[:most])


def _stacked(
    images: dict[Source, tuple[np.ndarray, Targets]],
) -> tuple[Float[np.ndarray, "N height width"], Targets]:
    stacked: tuple[np.ndarray, Targets] = jax.tree.map(
        lambda *leaves: np.stack(leaves), *images.values()
    )
    return stacked


def _title(source: Source) -> str:
    """What a picture of an image is called."""
    path, number = source
    return f"{path.name} [{number}]"
