"""`distax unmix`: the targets in image files."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from distax.errors import DistaxError

if TYPE_CHECKING:
    import numpy as np

    from distax.sensor import Sensor


@dataclass(frozen=True)
class Unmix:
    """Find the targets in image files and print them as a table."""

    files: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """PNG, TIFF or NPY files of raw counts; TIFF pages and the first axis of NPY are images."""
    checkpoint: Path = Path("runs/quickstart")
    """Folder of a run of `train` or `quickstart`."""
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
        from distax.unmixer import Unmixer

        if not self.files:
            raise DistaxError("no image files given; name at least one PNG, TIFF or NPY file")
        unmixer = Unmixer.load(self.checkpoint, self.threshold)
        images = _readable(self.files, unmixer.sensor)
        if images:
            found = unmixer(np.concatenate(list(images.values())))
            sources = [(path, index) for path in images for index in range(len(images[path]))]
            answers = answers_for(sources, found)
            print_table(answers)
            if self.json:
                write_text(self.json, to_json(answers))
            if self.csv:
                write_text(self.csv, to_csv(answers))
            if self.figure:
                names = [f"{path.name} [{index}]" for path, index in sources]
                pixels = np.concatenate(list(images.values()))
                draw_unmixing(self.figure, pixels, found, unmixer.sensor, names)
        if failed := len(set(self.files)) - len(images):
            raise DistaxError(f"{failed} of {len(set(self.files))} files could not be unmixed")


def _readable(files: tuple[Path, ...], sensor: "Sensor") -> "dict[Path, np.ndarray]":
    """The images of the files that can be unmixed; a line on standard error for each other."""
    from distax.interop.images import read_images
    from distax.unmixer import check_images

    images = {}
    for path in files:
        try:
            pixels = read_images(path)
            check_images(pixels, sensor, str(path))
            images[path] = pixels
        except DistaxError as error:
            print(f"distax: {error}", file=sys.stderr)
    return images
