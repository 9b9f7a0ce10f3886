"""`distax track`: finds and follows the targets of a sequence of frames."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from distax.cli.options import Checkpoint, Method, OutputPath, Threshold, default, make_unmixer

if TYPE_CHECKING:
    from distax.tracking import MotionPrior


@dataclass(frozen=True)
class Track:
    """Find the targets in a sequence of frames, link them to tracks, and smooth the tracks.

    Attributes:
      file: TIFF or NPY file of raw counts. Its pages or its first axis are the frames, in order.
      method: Method that unmixes each frame: fast (a network), posterior (sampling; for any sensor;
        tens to hundreds of times slower than fast), refine (least squares) or grid (the model of
        --checkpoint).
      speed: Largest speed of the group of targets in px per frame.
      drift: Largest speed of a target relative to the group in px per frame.
      acceleration: Largest acceleration in px per frame².
      sensor: TOML file of the sensor that took the frames, as `calibrate` writes it.
      json: Write the tracks to this JSON file.
      csv: Write the tracks to this CSV file, one line for each track and frame.
      figure: Draw the tracks over the mean of the frames to this file (PNG, PDF or SVG).
    """

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    method: Annotated[
        Method | None,
        default(
            "the method of --checkpoint; without one, fast if its network was trained for this "
            "sensor and for the square that holds the group in each of 20 frames, else refine"
        ),
    ] = None
    checkpoint: Checkpoint = None
    threshold: Threshold = None
    speed: float = 0.2
    drift: float = 0.02
    acceleration: float = 0.0
    sensor: Annotated[Path | None, default("the checkpoint's, or CSIST-100K's sensor")] = None
    json: OutputPath = None
    csv: OutputPath = None
    figure: OutputPath = None

    def run(self) -> None:
        """Unmixes the frames, links the targets to tracks, prints a table and writes the files."""
        from distax.cli.track_output import (
            draw_trajectories,
            print_table,
            to_csv,
            to_json,
            trajectories,
        )
        from distax.io.images import read_images
        from distax.runtime.files import check_outputs, write_text
        from distax.tracking import Tracker, track, unmix_sequences
        from distax.viz.figures import check_figure_path

        outputs = {"--json": self.json, "--csv": self.csv, "--figure": self.figure}
        check_outputs(outputs, (self.file, *filter(None, [self.sensor])))
        if self.figure:
            check_figure_path(self.figure)
        prior = self._prior()
        method = self.method or (None if self.checkpoint else self._usual_method(prior))
        unmixer = make_unmixer(
            method, self.checkpoint, self.threshold, self.sensor, prior.frame_prior
        )
        prior.check_room(unmixer.sensor.shape)
        frames = read_images(self.file)
        unmixer.check(frames, str(self.file))
        found = unmix_sequences(unmixer, frames[None])
        found_tracks = trajectories(track(found, Tracker.for_prior(prior)))
        print_table(found_tracks)
        if self.json:
            assumed_prior = unmixer.assumed_prior
            assumed = {
                "method": unmixer.method,
                "sensor": asdict(unmixer.sensor),
                "prior": assumed_prior and asdict(assumed_prior),
                "motion": asdict(prior),
            }
            write_text(self.json, to_json(found_tracks, assumed))
        if self.csv:
            write_text(self.csv, to_csv(found_tracks))
        if self.figure:
            draw_trajectories(self.figure, frames, found, found_tracks)

    def _usual_method(self, prior: "MotionPrior") -> Method:
        """Returns fast where its network is trained, and refine elsewhere.

        The default of other commands, posterior, is too slow for every frame.
        """
        from distax.fitting.cameras import outside_of_range
        from distax.imaging.sensor import Sensor
        from distax.io.sensor_file import read_sensor

        sensor = read_sensor(self.sensor) if self.sensor else Sensor()
        return "refine" if outside_of_range(sensor, prior.frame_prior) else "fast"

    def _prior(self) -> "MotionPrior":
        from distax.tracking import MotionPrior

        return MotionPrior(speed=self.speed, drift=self.drift, acceleration=self.acceleration)
