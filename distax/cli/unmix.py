"""`distax unmix`: the targets in image files."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from distax.cli.choosing import Method, chosen_unmixer
from distax.cli.frame_options import FrameOptions, adapted
from distax.errors import DistaxError

if TYPE_CHECKING:
    import numpy as np

    from distax.cli.answers import Answer, FrameAnswer
    from distax.frame_figures import FramePicture
    from distax.interop.frames import Frame
    from distax.sensor import Sensor
    from distax.targets import Targets
    from distax.unmixer import Unmixer

Source = tuple[Path, int]
"""A file, and the number of an image in it."""


@dataclass(frozen=True)
class Unmix:
    """Find the targets in images of the sensor's size, or in whole frames, and print a table."""

    files: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """FITS, PNG, TIFF or NPY files of raw counts; TIFF pages and the first axis of NPY are images.
    One of the sensor's size (11×11 px) is unmixed as it is, any other is a frame."""
    method: Method | None = None
    """How: fast, a network's one pass, without anything else said; posterior, expected hits
    maximised by sampling, a dozen images a second on two CPU cores; refine, the best least-squares
    fit, which frames take without anything else said; grid, the model of --checkpoint."""
    checkpoint: Path | None = None
    """What to use: folder of a run of `train` or `quickstart`, a .safetensors file, weights that
    come with distax, or a solver such as fista."""
    sensor: Path | None = None
    """TOML file with the sensor whose images or frames they are, as `calibrate` writes it;
    CSIST-100K's without one. For images of another sensor posterior is used unless something else
    is said."""
    threshold: float = 50.0
    """Counts a grid node needs to be reported."""
    json: Path | None = None
    """Write the targets to this JSON file."""
    csv: Path | None = None
    """Write the targets to this CSV file."""
    figure: Path | None = None
    """Draw the first images or frames with their targets to this file (PNG, PDF or SVG)."""
    frame: FrameOptions = FrameOptions()
    """The camera and the targets of frames."""

    def run(self) -> None:
        """Unmix every file that can be read; name those that cannot and fail at the end."""
        from distax.cli.answers import print_table, to_csv, to_json
        from distax.files import write_text

        if not self.files:
            raise DistaxError("no image files given; name at least one FITS, PNG, TIFF or NPY file")
        unmixer = chosen_unmixer(self.method, self.checkpoint, self.threshold, self.sensor)
        files = tuple(dict.fromkeys(self.files))
        found = _Found()
        failed = sum(not self._take(path, unmixer, found) for path in files)
        answers = found.answers(unmixer)
        if answers:
            print_table(answers)
            if self.json:
                write_text(self.json, to_json(answers))
            if self.csv:
                write_text(self.csv, to_csv(answers))
            if self.figure:
                found.draw(self.figure, unmixer.sensor)
        if failed:
            raise DistaxError(f"{failed} of {len(files)} files could not be unmixed")

    def _take(self, path: Path, unmixer: "Unmixer", found: "_Found") -> bool:
        """Take what a file holds and say what cannot be used on standard error; whether all can."""
        from distax.interop.frames import open_frames

        problems = []
        try:
            with open_frames(path, self.frame.extension) as content:
                for number, frame in enumerate(content):
                    try:
                        self._take_one((path, number), frame, unmixer, found)
                    except DistaxError as error:
                        problems.append(f"{path}: image {number}, {error}")
        except DistaxError as error:
            problems.append(str(error))
        for problem in problems:
            print(f"distax: {problem}", file=sys.stderr)
        return not problems

    def _take_one(
        self, source: Source, frame: "Frame", unmixer: "Unmixer", found: "_Found"
    ) -> None:
        import numpy as np

        from distax.cli.answers import answer_for_frame
        from distax.frame_figures import MAX_FRAMES, picture_of

        if frame.pixels.shape == unmixer.sensor.shape:
            image = np.asarray(frame.pixels[:], np.float32)
            for problem in unmixer.check(image[None]).values():
                raise DistaxError(problem)
            found.images[source] = image
            return
        targets = adapted(self.frame.unmixer(self.method, self.checkpoint, self.sensor), frame)(
            frame.pixels
        )
        found.frames[source] = answer_for_frame(source, frame, targets)
        if self.figure and len(found.pictures) < MAX_FRAMES:
            found.pictures.append(picture_of(_title(source), frame.pixels, targets))


@dataclass
class _Found:
    """What was found in frames, and the images that are unmixed together when all are read."""

    images: "dict[Source, np.ndarray]" = field(default_factory=dict)
    frames: "dict[Source, FrameAnswer]" = field(default_factory=dict)
    pictures: "list[FramePicture]" = field(default_factory=list)
    targets: "Targets | None" = None

    def answers(self, unmixer: "Unmixer") -> "list[Answer | FrameAnswer]":
        """The answers to everything, images after frames."""
        import numpy as np

        from distax.cli.answers import answers_for

        answers: list[Answer | FrameAnswer] = list(self.frames.values())
        if self.images:
            self.targets = unmixer(np.stack(list(self.images.values())))
            answers += answers_for(list(self.images), self.targets)
        return answers

    def draw(self, path: Path, sensor: "Sensor") -> None:
        """Draw the first frames or images.

        Raises:
          DistaxError: there are both.
        """
        import numpy as np

        from distax.figures import draw_unmixing
        from distax.frame_figures import draw_frames

        if self.targets is None:
            return draw_frames(path, self.pictures)
        if self.pictures:
            raise DistaxError(
                f"{path}: not drawn: a figure shows frames or images of the sensor's size, not "
                "both; unmix them by two commands"
            )
        names = [_title(source) for source in self.images]
        pixels = np.stack(list(self.images.values()))
        draw_unmixing(path, pixels, self.targets, sensor, names)


def _title(source: Source) -> str:
    path, number = source
    return f"{path.name} [{number}]"
