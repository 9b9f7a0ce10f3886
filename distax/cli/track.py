"""`distax track`: the targets of a sequence of frames, followed from frame to frame."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from distax.cli.choosing import Method, chosen_unmixer

if TYPE_CHECKING:
    from distax.imaging.sensor import Sensor
    from distax.tracking import MotionPrior


@dataclass(frozen=True)
class Track:
    """Find the targets in a sequence of frames, link them to tracks and smooth those."""

    file: Annotated[Path, tyro.conf.Positional]
    """TIFF or NPY file of raw counts whose pages or first axis are the frames, in their order."""
    method: Method | None = None
    """How frames are unmixed: refine, the best least-squares fit, unless --checkpoint names a
    model; posterior, better and a hundred times slower; fast, for targets that share a pixel in
    every frame; grid, the model of --checkpoint."""
    checkpoint: str | None = None
    """What to use: folder of a run of `train` or `quickstart`, a .safetensors file, weights that
    come with distax, or a solver such as fista."""
    threshold: float | None = None
    """Counts a grid node needs to be reported; those it was trained with (50, unless said) without
    this."""
    speed: float = 0.2
    """Largest speed of the group of targets in px per frame."""
    drift: float = 0.02
    """Largest speed of a target relative to the group in px per frame."""
    acceleration: float = 0.0
    """Largest acceleration in px per frame²."""
    sensor: Path | None = None
    """TOML file with the sensor that took the frames, as `calibrate` writes it; CSIST-100K's
    without one."""
    json: Path | None = None
    """Write the tracks to this JSON file."""
    csv: Path | None = None
    """Write a line for each track and frame to this CSV file."""
    figure: Path | None = None
    """Draw the tracks over the mean of the frames to this file (PNG, PDF or SVG)."""

    def run(self) -> None:
        """Unmix the frames, track, print the tracks and write what is asked for."""
        from distax.cli.track_output import draw_paths, paths_of, print_table, to_csv, to_json
        from distax.io.images import read_images
        from distax.runtime.files import write_text
        from distax.tracking import Tracker, track, unmix_sequences
        from distax.viz.figures import check_figure_path

        if self.figure:
            check_figure_path(self.figure)
        method = self.method or (None if self.checkpoint else "refine")
        unmixer = chosen_unmixer(method, self.checkpoint, self.threshold, self.sensor)
        prior = self._prior(unmixer.sensor)
        if unmixer.model is None:
            unmixer = replace(unmixer, prior=prior.frame_prior)
        frames = read_images(self.file)
        unmixer.check(frames, str(self.file))
        found = unmix_sequences(unmixer, frames[None])
        paths = paths_of(track(found, Tracker.for_prior(prior)))
        print_table(paths)
        if self.json:
            write_text(self.json, to_json(paths))
        if self.csv:
            write_text(self.csv, to_csv(paths))
        if self.figure:
            draw_paths(self.figure, frames, found, paths)

    def _prior(self, sensor: "Sensor") -> "MotionPrior":
        from distax.tracking import MotionPrior
        from distax.unmixer import prior_for

        return MotionPrior(
            placement=prior_for(sensor),
            speed=self.speed,
            drift=self.drift,
            acceleration=self.acceleration,
        )
