"""What `distax unmix` has found so far, and the files it makes of that."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from distax.cli.answers import Answer, FrameAnswer, answers_for
from distax.cli.target_table import Means
from distax.errors import DistaxError
from distax.targets import Targets
from distax.unmixer import Unmixer

if TYPE_CHECKING:
    from distax.frame_figures import FramePicture
    from distax.reports import Picture

Source = tuple[Path, int]
"""A file, and the number of an image in it."""


def title(source: Source) -> str:
    """What a picture of an image is called."""
    path, number = source
    return f"{path.name} [{number}]"


@dataclass
class Found:
    """What was found in frames, and the images that are unmixed together when all are read.

    Attributes:
      unmixer: of images.
      images: those of the sensor's size.
      frames: answers to the others.
      pictures: what a figure shows of the first frames.
      shown: pictures of frames for a report.
      means: by which targets were found, each once.
      targets: of the images `[N, K]`, when they are unmixed.
    """

    unmixer: Unmixer
    images: dict[Source, np.ndarray] = field(default_factory=dict)
    frames: dict[Source, FrameAnswer] = field(default_factory=dict)
    pictures: "list[FramePicture]" = field(default_factory=list)
    shown: "dict[Source, Picture]" = field(default_factory=dict)
    means: dict[Means, None] = field(default_factory=dict)
    targets: Targets | None = None

    def answers(self) -> list[Answer | FrameAnswer]:
        """The answers to everything, images after frames."""
        answers: list[Answer | FrameAnswer] = list(self.frames.values())
        if self.images:
            self.targets = self.unmixer(np.stack(list(self.images.values())))
            answers += answers_for(list(self.images), self.targets)
            threshold = self.unmixer.threshold if self.unmixer.method == "grid" else None
            self.means[Means(str(self.unmixer.method), self.unmixer.sensor, threshold)] = None
        return answers

    def draw(self, path: Path) -> None:
        """Draw the first frames or images.

        Raises:
          DistaxError: there are both.
        """
        from distax.figures import draw_unmixing
        from distax.frame_figures import draw_frames

        if self.targets is None:
            return draw_frames(path, self.pictures)
        if self.pictures:
            raise DistaxError(
                f"{path}: not drawn: a figure shows frames or images of the sensor's size, not "
                "both; unmix them by two commands"
            )
        names = [title(source) for source in self.images]
        pixels = np.stack(list(self.images.values()))
        draw_unmixing(path, pixels, self.targets, self.unmixer.sensor, names)

    def report(self, path: Path, answers: Sequence[Answer | FrameAnswer]) -> None:
        """Write a report on all answers, with pictures of the first images and frames."""
        from distax.cli.unmix_report import MAX_PICTURES, unmixing_report
        from distax.files import write_text
        from distax.reports import image_pictures

        shown = dict(self.shown)
        sources = list(self.images)[: MAX_PICTURES - len(shown)]
        if sources and self.targets is not None:
            pixels = np.stack([self.images[source] for source in sources])
            pictures = image_pictures(pixels, self.targets, self.unmixer.sensor)
            shown |= dict(zip(sources, pictures, strict=True))
        write_text(path, unmixing_report(answers, shown, Means.header(self.means)))
