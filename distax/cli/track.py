"""`distax track`: finds and follows the targets of a sequence of frames."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from distax.cli.options import (
    Checkpoint,
    Input,
    InputOptions,
    Method,
    ModelModule,
    OutputPath,
    Threshold,
    default,
    make_unmixer,
    read_sequence,
    register_models,
)
from distax.runtime.errors import DistaxError

if TYPE_CHECKING:
    import numpy as np

    from distax.tracking import MotionPrior


@dataclass(frozen=True)
class Track:
    """Find the targets in a sequence of frames, link them to tracks, and smooth the tracks.

    Attributes:
      files: Files of raw counts (FITS, PNG, TIFF, BMP, NPY or NPZ), folders of such files, or
        patterns. Their images are the frames of one sequence: pages, planes of a cube, entries
        along the first axis of an array, and files in natural order. They are windows of the
        sensor's size (11×11 px by default) around a group of targets; whole frames are not tracked
        yet.
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
      input: Parts of the files that are read.
    """

    files: Annotated[
        tuple[Path, ...],
        tyro.conf.Positional,
        tyro.conf.arg(help_behavior_hint="(at least one file or folder)"),
    ]
    method: Annotated[
        Method | None,
        default(
            "the method of --checkpoint; without one, fast if its network was trained for this "
            "sensor and for the square that holds the group in each of 20 frames, else refine"
        ),
    ] = None
    checkpoint: Checkpoint = None
    module: ModelModule = None
    threshold: Threshold = None
    speed: float = 0.2
    drift: float = 0.02
    acceleration: float = 0.0
    sensor: Annotated[Path | None, default("the checkpoint's, or CSIST-100K's sensor")] = None
    json: OutputPath = None
    csv: OutputPath = None
    figure: OutputPath = None
    input: Input = InputOptions()

    def run(self) -> None:
        """Unmixes the frames, links the targets to tracks, prints a table and writes the files."""
        from distax.cli.track_output import (
            draw_trajectories,
            print_table,
            to_csv,
            to_json,
            trajectories,
        )
        from distax.io.frames import find_files
        from distax.runtime.files import check_outputs, write_text
        from distax.tracking import Tracker, track, unmix_sequences
        from distax.viz.figures import check_figure_path

        register_models(self.module)
        if not self.files:
            raise DistaxError("no image files given; name at least one file or folder")
        files = find_files(self.files)
        outputs = {"--json": self.json, "--csv": self.csv, "--figure": self.figure}
        check_outputs(outputs, (*files, *filter(None, [self.sensor])))
        if self.figure:
            check_figure_path(self.figure)
        prior = self._prior()
        method = self.method or (None if self.checkpoint else self._usual_method(prior))
        unmixer = make_unmixer(
            method, self.checkpoint, self.threshold, self.sensor, prior.frame_prior
        )
        prior.check_room(unmixer.sensor.shape)
        frames = read_sequence(files, self.input)
        _check_windows(frames, unmixer.sensor.shape, files[0])
        unmixer.check(frames, str(files[0]))
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


def _check_windows(frames: "np.ndarray", shape: tuple[int, int], path: Path) -> None:
    """Raises DistaxError for frames of another size than the sensor's."""
    if frames.shape[1:] != shape:
        height, width = frames.shape[1:]
        raise DistaxError(
            f"{path}: {height}×{width} px, the sensor has {shape[0]}×{shape[1]}; track follows "
            "targets in such windows only: cut that window around the group, or find the targets "
            "of whole frames by unmix"
        )
