"""`distax track`: finds and follows the targets of a sequence of frames."""

import warnings
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from distax.cli.options import (
    Checkpoint,
    FrameOptions,
    Input,
    InputOptions,
    Method,
    ModelModule,
    OutputPath,
    PriorOptions,
    Threshold,
    default,
    read_sequence,
    register_models,
)
from distax.runtime.errors import DistaxError, DistaxWarning

if TYPE_CHECKING:
    import numpy as np

    from distax.cli.track_frames import Images
    from distax.cli.track_output import Camera, Trajectory
    from distax.cli.unmix.runner import Unmixers
    from distax.imaging.targets import Targets
    from distax.tracking import MotionPrior, SequenceUnmixer

_SPEED = 0.2, 2.0
"""Default of the largest speed in pixels per frame, of windows and of whole frames."""
_MAX_MISSED = 5, 3
"""Default of the missed detections in a row that a track survives, in the same order."""
_SMALLEST = 16
"""Smallest side in pixels of a whole frame, as `frames.FrameUnmixer` has it."""


@dataclass(frozen=True)
class Track:
    """Find the targets in a sequence of frames, link them to tracks, and smooth the tracks.

    Attributes:
      files: Files of raw counts (FITS, PNG, TIFF, BMP, NPY or NPZ), folders of such files, or
        patterns. Their images are the frames of one sequence: pages, planes of a cube, entries
        along the first axis of an array, and files in natural order. Images of the sensor's size
        (11×11 px by default) are windows around a group of targets. Images of any larger size are
        whole frames, in which targets are detected first.
      method: Method that unmixes each frame: fast (a network), posterior (sampling; for any sensor;
        tens to hundreds of times slower than fast), refine (least squares) or grid (the model of
        --checkpoint). Whole frames take fast, refine or posterior. A --checkpoint of a model of
        sequences takes windows only. It needs neighbouring frames, so the first and the last frames
        get no targets.
      speed: Largest speed in px per frame, of the group in windows and of every target in whole
        frames.
      drift: Largest speed of a target relative to the group in px per frame. For windows only.
      acceleration: Largest acceleration in px per frame².
      max_missed: Missed detections in a row that a track survives.
      min_detections: Detections that confirm a track. Tracks with fewer are dropped.
      camera_motion: Source of the camera's shift in each whole frame, which is removed from
        velocities: targets, scene (the structure behind the targets), none, or auto (the targets if
        most frames hold at least three, or else the scene if it shows the shift, or else none).
      jitter: Standard deviation of the camera's shift along each axis in px, as far as it is known
        beforehand. Links allow for it. For whole frames only.
      sensor: TOML file of the sensor that took the frames, as `calibrate` writes it.
      json: Write the tracks to this JSON file.
      csv: Write the tracks to this CSV file, one line for each track and frame.
      figure: Draw the tracks over the mean of the frames to this file (PNG, PDF or SVG).
      prior: Number, spacing and intensity of the targets, as far as they are known.
      frame: Camera of whole frames, unless --sensor gives it, and settings of the blob detection.
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
            "the method of --checkpoint; without one, fast if its network knows the sensor and the "
            "prior, and in windows the square in which a group moves during 20 frames; else refine"
        ),
    ] = None
    checkpoint: Checkpoint = None
    module: ModelModule = None
    threshold: Threshold = None
    speed: Annotated[
        float | None, default(f"{_SPEED[0]:g} in windows, {_SPEED[1]:g} in whole frames")
    ] = None
    drift: Annotated[float | None, default("0.02")] = None
    acceleration: float = 0.0
    max_missed: Annotated[
        int | None, default(f"{_MAX_MISSED[0]} in windows, {_MAX_MISSED[1]} in whole frames")
    ] = None
    min_detections: int = 4
    camera_motion: Literal["auto", "targets", "scene", "none"] = "auto"
    jitter: Annotated[float | None, default("0.5")] = None
    sensor: Annotated[Path | None, default("the checkpoint's, or CSIST-100K's sensor")] = None
    json: OutputPath = None
    csv: OutputPath = None
    figure: OutputPath = None
    prior: PriorOptions = PriorOptions()
    frame: FrameOptions = FrameOptions()
    input: Input = InputOptions()

    def run(self) -> None:
        """Unmixes the frames, links the targets to tracks, prints a table and writes the files."""
        from distax.cli.sequence_models import load_sequence_unmixer
        from distax.cli.track_frames import list_images
        from distax.cli.unmix.runner import Unmixers
        from distax.io.frames import find_files
        from distax.runtime.files import check_outputs
        from distax.viz.figures import check_figure_path

        register_models(self.module)
        if not self.files:
            raise DistaxError("no image files given; name at least one file or folder")
        files = find_files(self.files)
        outputs = {"--json": self.json, "--csv": self.csv, "--figure": self.figure}
        read = self.sensor, self.checkpoint, self.module, self.input.mask
        check_outputs(outputs, (*files, *read))
        if self.figure:
            check_figure_path(self.figure)
        unsuitable = {
            "--method": self.method,
            "--sensor": self.sensor,
            "--prior": self.prior.given,
        }
        of_sequences = load_sequence_unmixer(self.checkpoint, self.threshold, unsuitable)
        if of_sequences:
            return self._track_windows(files, of_sequences)
        images = list_images(files, self.input.reading)
        unmixers = Unmixers(
            *(self.method, self.checkpoint, self.sensor, self.threshold, self.prior, self.frame),
            input=self.input,
        )
        expected = unmixers.sensor.shape
        if images.shape == expected:
            return self._track_windows(files)
        if min(images.shape) < _SMALLEST:
            (height, width), (rows, columns) = images.shape, expected
            raise DistaxError(
                f"{files[0]}: {height}×{width} px, the sensor has {rows}×{columns}, and a whole "
                f"frame at least {_SMALLEST}×{_SMALLEST}; give images of one of these sizes, or a "
                "--sensor of this size"
            )
        return self._track_whole_frames(images, unmixers)

    def _track_windows(
        self, files: list[Path], of_sequences: "SequenceUnmixer | None" = None
    ) -> None:
        """Tracks the targets of windows of the sensor's size.

        Args:
          files: the files.
          of_sequences: the model of sequences that finds the targets; None to unmix every frame on
            its own.
        """
        from distax.cli.track_output import trajectories
        from distax.cli.track_windows import describe_unmixer, find_targets, make_window_unmixer
        from distax.tracking import MotionPrior, Tracker, track

        camera = {} if self.camera_motion == "auto" else {"camera_motion": self.camera_motion}
        frame = {f"frame.{name}": value for name, value in self.frame.given.items()}
        _warn_of_unused("windows", {"jitter": self.jitter} | camera | frame)
        if of_sequences:
            prior = self._changed(of_sequences.prior)
        else:
            prior = self._changed(MotionPrior(placement=self.prior.for_images()))
        chosen = self.method, self.checkpoint, self.threshold, self.sensor
        unmixer = of_sequences or make_window_unmixer(*chosen, prior)
        prior.check_room(unmixer.sensor.shape)
        frames = read_sequence(files, self.input)
        found, answered = find_targets(unmixer, frames, files)
        tracker = replace(
            Tracker.for_prior(prior),
            min_detections=self.min_detections,
            max_missed_detections=_MAX_MISSED[0] if self.max_missed is None else self.max_missed,
        )
        tracks = trajectories(track(found, tracker), answered.start)
        assumed = describe_unmixer(unmixer, answered) | {"motion": asdict(prior)}
        self._write(tracks, None, assumed, (frames, found))

    def _track_whole_frames(self, images: "Images", unmixers: "Unmixers") -> None:
        """Tracks the targets of whole frames."""
        from distax.cli.track_frames import WholeFrames
        from distax.cli.track_output import camera_course, trajectories_of_frames
        from distax.tracking import FrameTracker

        _warn_of_unused("whole frames", {"drift": self.drift})
        for name in ("best", "min_score", "trusted_only"):
            if name in self.frame.given:
                raise DistaxError(
                    f"--frame.{name.replace('_', '-')} would hide targets from the tracks and from "
                    "the camera's motion; leave it out"
                )
        tracker = FrameTracker(
            speed=_SPEED[1] if self.speed is None else self.speed,
            acceleration=self.acceleration,
            max_missed_detections=_MAX_MISSED[1] if self.max_missed is None else self.max_missed,
            min_detections=self.min_detections,
            camera_motion=self.camera_motion,
            jitter=FrameTracker().jitter if self.jitter is None else self.jitter,
        )
        frames = WholeFrames.of(images, self.input.reading, unmixers)
        tracks = frames.track(tracker)
        unmixer = frames.unmixer
        assumed = {
            "method": unmixer.estimator.name,
            "sensor": asdict(unmixer.sensor),
            "prior": asdict(unmixer.prior),
            "tracker": asdict(tracker),
        }
        camera = camera_course(tracks.camera, images.sources)
        self._write(
            trajectories_of_frames(tracks), camera, assumed, (frames.mean[None], frames.detections)
        )

    def _write(
        self,
        tracks: "list[Trajectory]",
        camera: "Camera | None",
        assumed: dict[str, Any],
        seen: "tuple[np.ndarray, Targets]",
    ) -> None:
        """Prints the tracks and writes the files.

        Args:
          tracks: the tracks.
          camera: the camera's shifts; None for windows.
          assumed: settings, for the JSON file.
          seen: frames and detections, for the figure.
        """
        from distax.cli.track_output import draw_trajectories, print_table, to_csv, to_json
        from distax.runtime.files import write_text

        print_table(tracks)
        if camera:
            print(camera.line)
        if self.json:
            write_text(self.json, to_json(tracks, assumed, camera))
        if self.csv:
            write_text(self.csv, to_csv(tracks, camera))
        if self.figure:
            draw_trajectories(self.figure, *seen, tracks)

    def _changed(self, prior: "MotionPrior") -> "MotionPrior":
        """Returns a prior of the motion, changed by the options that are given."""
        return replace(
            prior,
            speed=prior.speed if self.speed is None else self.speed,
            drift=prior.drift if self.drift is None else self.drift,
            acceleration=self.acceleration or prior.acceleration,
        )


def _warn_of_unused(images: str, options: dict[str, Any]) -> None:
    """Warns of options that have no effect on the images of a sequence."""
    given = [name for name, value in options.items() if value is not None]
    if given:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        warnings.warn(
            f"{names} had no effect: the images are {images}", DistaxWarning, stacklevel=2
        )
