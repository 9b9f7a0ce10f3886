"""Unmixing of files one after the other, which can be stopped and resumed."""

import json
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from distax.cli.naming import check_name, is_writable_name, name_image, naming_warnings
from distax.cli.options import (
    FrameOptions,
    InputOptions,
    Method,
    OptionError,
    PriorOptions,
    describe_choice,
    make_unmixer,
)
from distax.cli.unmix.answers import (
    Answer,
    FrameAnswer,
    Record,
    Source,
    State,
    answer_for,
    answer_for_frame,
)
from distax.cli.unmix.pictures import Pictures
from distax.cli.unmix.tables import Provenance
from distax.frames.psf import PsfCheck
from distax.imaging.sensor import Sensor
from distax.io.frames import find_files, find_files_or_names, open_frames
from distax.io.pixels import Frame
from distax.runtime.buckets import as_path, is_in_bucket
from distax.runtime.checksums import file_checksum
from distax.runtime.errors import DistaxError, DistaxWarning, Terminated, first_line
from distax.runtime.progress import PatientBar
from distax.runtime.terminal import tell

if TYPE_CHECKING:
    from distax.frames import FrameUnmixer
    from distax.unmixer import Unmixer


@dataclass(frozen=True)
class Unmixers:
    """Unmixers for images and for frames, each made when it is first needed.

    Attributes:
      method, checkpoint, sensor_file, threshold, prior, frame, input: options of the command.
      calibrated: unmixer of images whose sensor is fitted to them; None for no such fit.

    Raises:
      DistaxError: a prior for a method that takes none.
    """

    method: Method | None
    checkpoint: str | None
    sensor_file: Path | None
    threshold: float | None
    prior: PriorOptions
    frame: FrameOptions
    calibrated: "Unmixer | None" = None
    input: InputOptions = InputOptions()

    def __post_init__(self) -> None:
        if self.prior.given and (self.checkpoint or self.method == "grid"):
            remedy = "replace --checkpoint by" if self.checkpoint else "choose"
            raise DistaxError(
                f"{describe_choice(self.method, self.checkpoint)} can only use the prior of its "
                f"training; leave out the --prior options, or {remedy} --method fast, refine or "
                "posterior"
            )

    def check(self) -> None:
        """Checks the options that do not depend on the files.

        Raises:
          DistaxError: neither an image nor a frame could be unmixed, or the options of frames are
            out of range.
        """
        # Makes the unmixer of images, whose sensor is among the options.
        self.options()
        _ = self.input.reading
        if self.sensor_file is None or self.frame.given:
            self.frame.make_unmixer(None, None, self.sensor_file)
        try:
            self.prior.for_frames()
        except OptionError:
            self.prior.for_images()

    @cached_property
    def sensor(self) -> Sensor:
        """Sensor whose images are unmixed directly; images of other sizes are frames."""
        from distax.io.sensor_file import read_sensor

        if self.calibrated:
            return self.for_images.sensor
        # `for_images` would refuse priors and PSFs that only suit frames, so the sensor is read
        # without it.
        own = read_sensor(self.sensor_file) if self.sensor_file else Sensor()
        only_frames = self.prior.given or own.psf_grid is not None
        return own if only_frames else self.for_images.sensor

    @cached_property
    def for_images(self) -> "Unmixer":
        """Unmixer of images of the sensor's size."""
        if self.calibrated:
            return self.calibrated
        prior = self.prior.for_images() if self.prior.given else None
        choice = self.method, self.checkpoint, self.threshold, self.sensor_file
        try:
            return make_unmixer(*choice, prior)
        except DistaxError as error:
            # The options are wrong, not an image.
            raise OptionError(str(error)) from None

    @cached_property
    def _for_frames(self) -> "FrameUnmixer":
        """Unmixer of frames whose file does not give the saturation."""
        return self.frame.make_unmixer(self.method, self.checkpoint, self.sensor_file, self.prior)

    def for_frame(self, saturation: float | None) -> "FrameUnmixer":
        """Returns the unmixer for a frame.

        The saturation comes from the options, or else from the frame's file.

        Args:
          saturation: saturation in the frame's file; None if the file does not give it.
        """
        unmixer = self._for_frames
        if saturation is None or unmixer.sensor.saturation is not None:
            return unmixer
        return replace(unmixer, sensor=replace(unmixer.sensor, saturation=saturation))

    def provenance(self, answer: Answer | FrameAnswer) -> Provenance:
        """Returns the method and settings that gave an answer."""
        if isinstance(answer, FrameAnswer):
            frames = assuming(self.for_frame(answer.saturation), answer.psf)
            about = frames.estimator.name, frames.sensor, frames.prior
            return Provenance(*about, answer.threshold)
        unmixer = self.for_images
        threshold = unmixer.threshold if unmixer.method == "grid" else None
        return Provenance(unmixer.method, unmixer.sensor, unmixer.assumed_prior, threshold)

    def options(self) -> dict[str, Any]:
        """Returns all options that the answers depend on, as plain JSON values."""
        options = {
            "method": self.method,
            "checkpoint": self.checkpoint,
            "sensor": asdict(self.sensor),
            "threshold": self.threshold,
            "prior": asdict(self.prior),
            "frame": asdict(self.frame),
            **asdict(self.input),
        }
        # It decides which files are read, and changes no answer.
        del options["max_gigabytes"]
        return _plain(options)


def assuming(unmixer: "FrameUnmixer", psf: PsfCheck | None) -> "FrameUnmixer":
    """Returns the unmixer with the PSF that it assumed for a frame."""
    if psf is None:
        return unmixer
    return replace(unmixer, sensor=replace(unmixer.sensor, sigma=psf.sigma), measure_psf=False)


def _checksum(path: Path, default: int | None = None) -> int | None:
    """Returns the CRC-32 of a file on disk; the default if there is none that can be read."""
    if is_in_bucket(path) or not path.is_file():
        return default
    try:
        return file_checksum(path)
    except OSError:
        return default


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Converts values to those that JSON reads back, such as lists for tuples."""
    plain: dict[str, Any] = json.loads(json.dumps(values))
    return plain


@dataclass
class Runner:
    """Unmixes files in order and collects the answers.

    A frame is unmixed when it is read. Images of the sensor's size are queued, and unmixed when
    `portion_size` of them are queued.

    Attributes:
      unmixers: unmixers of images and frames.
      pictures: pictures for the figure and the report.
      residual: file for the residual of a frame; None for no residual.
      files: state of each file; "finished" includes files with images in the queue.
      answers: answers by file and image.
      failed: files that could not be unmixed, or only in part.
      contents: CRC-32 of each file on disk that was read.
    """

    unmixers: Unmixers
    pictures: Pictures
    residual: Path | None
    files: dict[Path, State]
    answers: dict[Source, Answer | FrameAnswer] = field(default_factory=dict)
    failed: set[Path] = field(default_factory=set)
    contents: dict[Path, int] = field(default_factory=dict)
    _queue: dict[Source, np.ndarray] = field(default_factory=dict)
    _earlier: dict[Path, list[Answer | FrameAnswer]] = field(default_factory=dict)
    _unmixed_count: int = 0

    def resume_from(self, record: Record) -> None:
        """Takes over the files and answers of an earlier run.

        Its files keep their order and precede new ones. Files that failed are unmixed again, and
        so are those whose content has changed. Files in a folder that was empty, or that a pattern
        did not match, are new ones.
        """
        known: dict[Path, State] = {as_path(file): state for file, state in record.files.items()}
        earlier = {
            path: state
            for path, state in known.items()
            if state != "failed" or find_files_or_names([path]) == [path]
        }
        self.files = earlier | {path: earlier.get(path, "unfinished") for path in self.files}
        self.contents = {as_path(file): content for file, content in record.contents.items()}
        for path, content in self.contents.items():
            # The answers of a file that is gone are kept.
            kept = self.files.get(path, "failed") != "failed"
            if kept and content != _checksum(path, content):
                tell(f"{path}: changed since it was unmixed, and is unmixed again")
                self.files[path] = "failed"
        for answer in record.images:
            if self.files.get(path := as_path(answer.file), "failed") != "failed":
                self.answers[path, answer.image] = answer
                self._earlier.setdefault(path, []).append(answer)

    def run(
        self,
        stop_requested: Callable[[], bool],
        autosave: Callable[[], None],
        progress: PatientBar,
    ) -> None:
        """Unmixes all images without an answer, and names bad files on standard error.

        Args:
          stop_requested: called after every image; returns True to stop the run.
          autosave: called after every image; may save `record`.
          progress: bar that counts files.

        Raises:
          Terminated: a stop was requested.
        """
        for index, path in enumerate(self.files):

            def after_image(share: float, index: int = index) -> None:
                if not self._queue:
                    progress.update(index + share, self._unmixed_count)
                if stop_requested():
                    raise Terminated
                autosave()

            self._tell(self._unmix_file(path, after_image), path)
            if self.files[path] != "finished":
                self.files[path] = "failed" if path in self.failed else "finished"
        self._unmix_queued()

    def _tell(self, problems: list[str], path: Path) -> None:
        """Tells the problems of a file."""
        for problem in problems:
            tell(problem)
            self.failed.add(path)

    def warn_of_unused_options(self) -> None:
        """Warns of --frame options that had no effect, because no file holds a frame."""
        frames = any(isinstance(answer, FrameAnswer) for answer in self.answers.values())
        given = self.unmixers.frame.given
        if given and not frames and not self.failed:
            height, width = self.unmixers.sensor.shape
            options = ", ".join(f"--frame.{name.replace('_', '-')}" for name in sorted(given))
            warnings.warn(
                f"{options} had no effect: no file holds a frame, and images of {height}×{width} "
                "px are unmixed with the sensor of --sensor",
                DistaxWarning,
                stacklevel=2,
            )

    def record(self) -> Record:
        """Returns the answers so far, in the order of the files.

        Files whose names cannot be written are left out; a later run finds them anew.
        """
        queued = {path for path, _ in self._queue}
        order = {path: index for index, path in enumerate(self.files)}
        found = sorted(self.answers, key=lambda source: (order[source[0]], source[1]))
        answers = tuple(self.answers[source] for source in found)
        assumed = dict.fromkeys(map(self.unmixers.provenance, answers))
        return Record(
            options=self.unmixers.options(),
            assumed=tuple(_plain(asdict(one)) for one in assumed),
            files={
                str(path): "unfinished" if path in queued and state == "finished" else state
                for path, state in self.files.items()
                if is_writable_name(path)
            },
            images=answers,
            contents={
                str(path): self.contents[path] for path in self.files if path in self.contents
            },
        )

    def _unmix_file(self, path: Path, after_image: Callable[[float], None]) -> list[str]:
        """Unmixes or queues the images of a file.

        Args:
          path: the file.
          after_image: called after each image with the finished share of the file; raises
            Terminated if a stop was requested.

        Returns:
          Error lines, one for each image or file that cannot be unmixed.

        Raises:
          Terminated: a stop was requested.
        """
        known = self._earlier.get(path, [])
        if self.files[path] == "finished" and not any(map(self._needs_picture, known)):
            return []
        problems = []
        try:
            check_name(path)
            find_files([path])  # names an empty folder, and a pattern that matches nothing
            if (checksum := _checksum(path)) is not None:
                self.contents[path] = checksum
            with open_frames(path, self.unmixers.input.reading) as content:
                if self.residual and len(content) > 1:
                    raise DistaxError(
                        f"{path}: holds {len(content)} images, but --residual takes one frame; "
                        "save that frame to a file of its own"
                    )
                for number in range(len(content)):
                    try:
                        with naming_warnings(path, number):
                            self._unmix_frame_or_image((path, number), content[number])
                    except OptionError:
                        raise
                    except DistaxError as error:
                        problems.append(name_image(path, number, error))
                    except Exception as error:
                        # One image's fault must not cost the answers to others.
                        fault = f"{type(error).__name__}: {first_line(error)}"
                        line = f"could not be unmixed because of a fault in distax ({fault})"
                        line += "; please report it with the file"
                        problems.append(name_image(path, number, line))
                    after_image((number + 1) / len(content))
        except OptionError:
            raise
        except DistaxError as error:
            problems.append(str(error))
        return problems

    def _needs_picture(self, known: Answer | FrameAnswer) -> bool:
        """Returns True if an answered image is unmixed again, for a picture or the residual."""
        if isinstance(known, FrameAnswer):
            return self.residual is not None or self.pictures.has_room_for_frame()
        return self.pictures.has_room_for_image()

    def _unmix_frame_or_image(self, source: Source, frame: Frame) -> None:
        known = self.answers.get(source)
        if known is not None and not self._needs_picture(known):
            return
        if frame.shape != self.unmixers.sensor.shape:
            self._unmix_frame(source, frame)
        elif self.residual:
            raise DistaxError(
                "an image of the sensor's size has no residual file; --report shows its residual"
            )
        else:
            self._queue_image(source, np.asarray(frame.pixels[:], np.float32))

    def _queue_image(self, source: Source, image: np.ndarray) -> None:
        unmixer = self.unmixers.for_images
        if problems := unmixer.check(image[None]):
            raise DistaxError(problems[0])
        self.pictures.reserve(source)
        self._queue[source] = image
        if len(self._queue) >= unmixer.portion_size:
            self._unmix_queued()

    def _unmix_queued(self) -> None:
        if not self._queue:
            return
        sources, images = list(self._queue), np.stack(list(self._queue.values()))
        found = self.unmixers.for_images.unmix_portion(images)
        for row, source in enumerate(sources):
            try:
                self.answers[source] = answer_for(source, found, row)
            except DistaxError as error:
                self._tell([name_image(*source, error)], source[0])
                self.files[source[0]] = "failed"
                self.pictures.release(source)
                continue
            targets = jax.tree.map(lambda leaf, row=row: leaf[row], found)
            self.pictures.add_image(source, images[row], targets)
        self._unmixed_count += len(sources)
        self._queue.clear()

    def _unmix_frame(self, source: Source, frame: Frame) -> None:
        from distax.frames.residual import Residual
        from distax.io.writing import write_image

        unmixer = self.unmixers.for_frame(frame.saturation)
        found = unmixer(frame.pixels)
        residual = Residual(frame.pixels, found, assuming(unmixer, found.psf).sensor)
        if self.residual:
            write_image(self.residual, residual, frame.header)
        self.pictures.add_frame(source, frame.pixels, found, residual)
        self.answers[source] = answer_for_frame(source, frame, found)
        self._unmixed_count += 1
        if found.psf:
            path, number = source
            tell(f"{path}: image {number}, {found.psf.line}")
