"""`distax unmix`: the targets in image files."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from distax.cli.choosing import Method, chosen_unmixer
from distax.errors import DistaxError

if TYPE_CHECKING:
    import numpy as np

    from distax.unmixer import Unmixer


@dataclass(frozen=True)
class Unmix:
    """Find the targets in image files and print them as a table."""

    files: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """PNG, TIFF or NPY files of raw counts; TIFF pages and the first axis of NPY are images."""
    method: Method | None = None
    """How: fast, a network's one pass, without anything else said; posterior, expected hits
    maximised by sampling, a dozen images a second on two CPU cores; refine, the best least-squares
    fit; grid, the model of --checkpoint."""
    checkpoint: Path | None = None
    """What to use: folder of a run of `train` or `quickstart`, a .safetensors file, weights that
    come with distax, or a solver such as fista."""
    sensor: Path | None = None
    """TOML file with the sensor whose images they are, as `calibrate` writes it; CSIST-100K's
    without one. For another sensor posterior is used unless something else is said."""
    threshold: float = 50.0
    """Counts a grid node needs to be reported."""
    json: Path | None = None
    """Write the targets to this JSON file."""
    csv: Path | None = None
    """Write the targets to this CSV file."""
    figure: Path | None = None
    """Draw the first images with their targets to this file (PNG, PDF or SVG)."""

    def run(self) -> None:
        """Unmix every file that can be read; name those that cannot and fail at the end."""
        import numpy as np

        from distax.cli.answers import answers_for, print_table, to_csv, to_json
        from distax.figures import draw_unmixing
        from distax.files import write_text

        if not self.files:
            raise DistaxError("no image files given; name at least one PNG, TIFF or NPY file")
        unmixer = chosen_unmixer(self.method, self.checkpoint, self.threshold, self.sensor)
        files = tuple(dict.fromkeys(self.files))
        images, failed = _usable(files, unmixer)
        if images:
            pixels = np.stack(list(images.values()))
            found = unmixer(pixels)
            answers = answers_for(list(images), found)
            print_table(answers)
            if self.json:
                write_text(self.json, to_json(answers))
            if self.csv:
                write_text(self.csv, to_csv(answers))
            if self.figure:
                names = [f"{path.name} [{index}]" for path, index in images]
                draw_unmixing(self.figure, pixels, found, unmixer.sensor, names)
        if failed:
            raise DistaxError(f"{failed} of {len(files)} files could not be unmixed")


def _usable(
    files: tuple[Path, ...], unmixer: "Unmixer"
) -> "tuple[dict[tuple[Path, int], np.ndarray], int]":
    """The images that can be unmixed, by file and number in it, and how many files failed.

    A line on standard error says what is wrong with each image or file that cannot.
    """
    from distax.interop.images import read_images

    images = {}
    failed = 0
    for path in files:
        problems: dict[int, str] = {}
        try:
            pixels = read_images(path)
            problems = unmixer.check(pixels, str(path))
            for index, image in enumerate(pixels):
                if index not in problems:
                    images[path, index] = image
        except DistaxError as error:
            print(f"distax: {error}", file=sys.stderr)
            failed += 1
        for index, problem in problems.items():
            print(f"distax: {path}: image {index}, {problem}", file=sys.stderr)
        failed += bool(problems)
    return images, failed
