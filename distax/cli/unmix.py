"""`distax unmix`: the targets in image files."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from distax.cli.choosing import Method, chosen_unmixer
from distax.cli.frame_options import FrameOptions, adapted
from distax.errors import DistaxError

if TYPE_CHECKING:
    from distax.cli.found import Found, Source
    from distax.interop.frames import Frame


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
    table: Path | None = None
    """Write the targets to this table with units, for astropy and its like (.ecsv or .fits)."""
    residual: Path | None = None
    """Write what a frame holds besides its background and these targets (.fits or .npy); NaN where
    pixels are bad, and below zero where they are saturated."""
    report: Path | None = None
    """Write an HTML page with pictures and a table that can be sorted and searched."""
    figure: Path | None = None
    """Draw the first images or frames with their targets to this file (PNG, PDF or SVG)."""
    frame: FrameOptions = FrameOptions()
    """The camera and the targets of frames."""

    def run(self) -> None:
        """Unmix every file that can be read; name those that cannot and fail at the end."""
        from distax.cli.found import Found

        files = tuple(dict.fromkeys(self.files))
        self._check(files)
        found = Found(chosen_unmixer(self.method, self.checkpoint, self.threshold, self.sensor))
        failed = sum(not self._take(path, found) for path in files)
        self._write(found)
        if failed:
            raise DistaxError(f"{failed} of {len(files)} files could not be unmixed")

    def _check(self, files: tuple[Path, ...]) -> None:
        """Refuse what cannot be written before anything is unmixed."""
        from distax.cli.target_table import check_table_path
        from distax.interop.writing import check_image_path

        if not files:
            raise DistaxError("no image files given; name at least one FITS, PNG, TIFF or NPY file")
        if self.table:
            check_table_path(self.table)
        if self.residual:
            check_image_path(self.residual)
            if len(files) > 1:
                raise DistaxError(
                    f"{self.residual}: the residual is one frame's; unmix the {len(files)} files "
                    "by as many commands"
                )

    def _write(self, found: "Found") -> None:
        """Print and write what was found, if anything could be unmixed."""
        from distax.cli.answers import print_table, to_csv, to_json
        from distax.cli.target_table import Means, write_table
        from distax.files import write_text

        answers = found.answers()
        if not answers:
            return
        print_table(answers)
        if self.json:
            write_text(self.json, to_json(answers))
        if self.csv:
            write_text(self.csv, to_csv(answers))
        if self.table:
            write_table(self.table, answers, Means.header(found.means))
        if self.report:
            found.report(self.report, answers)
        if self.figure:
            found.draw(self.figure)

    def _take(self, path: Path, found: "Found") -> bool:
        """Take what a file holds and say what cannot be used on standard error; whether all can."""
        from distax.interop.frames import open_frames

        problems = []
        try:
            with open_frames(path, self.frame.extension) as content:
                if self.residual and len(content) > 1:
                    raise DistaxError(
                        f"{path}: holds {len(content)} images, and the residual is one frame's; "
                        "save the one you want by itself"
                    )
                for number, frame in enumerate(content):
                    try:
                        self._take_one((path, number), frame, found)
                    except DistaxError as error:
                        problems.append(f"{path}: image {number}, {error}")
        except DistaxError as error:
            problems.append(str(error))
        for problem in problems:
            print(f"distax: {problem}", file=sys.stderr)
        return not problems

    def _take_one(self, source: "Source", frame: "Frame", found: "Found") -> None:
        import numpy as np

        if frame.pixels.shape != found.unmixer.sensor.shape:
            return self._take_frame(source, frame, found)
        if self.residual:
            raise DistaxError(
                "an image of the sensor's size has no residual file; --report shows what is left"
            )
        image = np.asarray(frame.pixels[:], np.float32)
        for problem in found.unmixer.check(image[None]).values():
            raise DistaxError(problem)
        found.images[source] = image

    def _take_frame(self, source: "Source", frame: "Frame", found: "Found") -> None:
        from distax.cli.answers import answer_for_frame
        from distax.cli.found import title
        from distax.cli.target_table import Means
        from distax.cli.unmix_report import MAX_PICTURES
        from distax.frame_figures import MAX_FRAMES, picture_of
        from distax.frames.residual import Residual
        from distax.interop.writing import write_image
        from distax.reports import frame_picture

        unmixer = adapted(self.frame.unmixer(self.method, self.checkpoint, self.sensor), frame)
        targets = unmixer(frame.pixels)
        residual = Residual(frame.pixels, targets, unmixer.sensor)
        found.means[Means(unmixer.method, unmixer.sensor, targets.threshold)] = None
        found.frames[source] = answer_for_frame(source, frame, targets)
        if self.residual:
            write_image(self.residual, residual, frame.header)
        if self.figure and len(found.pictures) < MAX_FRAMES:
            found.pictures.append(picture_of(title(source), frame.pixels, targets))
        if self.report and len(found.shown) < MAX_PICTURES:
            shown = (picture_of("", pixels, targets) for pixels in (frame.pixels, residual))
            found.shown[source] = frame_picture(*shown)
