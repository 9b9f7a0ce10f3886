"""Files unmixed one after the other, so that a run can be stopped and gone on with."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import jax
import numpy as np

from distax.cli.unmix.answers import Answer, FrameAnswer, answer_for_frame, answers_for
from distax.cli.unmix.estimators import Estimators
from distax.cli.unmix.pictures import Pictures, Source
from distax.cli.unmix.record import Record, State
from distax.io.frames import Frame, open_frames
from distax.runtime.errors import DistaxError, Terminated
from distax.runtime.progress import PatientBar


@dataclass
class Unmixing:
    """What is found in files, frame by frame; images wait until there are enough to go together.

    Attributes:
      estimators: unmix images and frames.
      pictures: what is drawn of them.
      residual: file for a frame's residual, if one is asked for.
      files: how far each is, images that wait taken for unmixed.
      answers: to frames and images.
      failed: files with something that cannot be unmixed.
    """

    estimators: Estimators
    pictures: Pictures
    residual: Path | None
    files: dict[Path, State]
    answers: dict[Source, Answer | FrameAnswer] = field(default_factory=dict)
    failed: set[Path] = field(default_factory=set)
    _waiting: dict[Source, np.ndarray] = field(default_factory=dict)
    _known: dict[Path, list[Answer | FrameAnswer]] = field(default_factory=dict)
    _unmixed: int = 0

    def go_on_after(self, record: Record) -> None:
        """Take over what an earlier run found, its files first; what failed is tried again."""
        earlier: dict[Path, State] = {Path(file): state for file, state in record.files.items()}
        self.files = earlier | {path: earlier.get(path, "unfinished") for path in self.files}
        for answer in record.images:
            if self.files[path := Path(answer.file)] != "failed":
                self.answers[path, answer.image] = answer
                self._known.setdefault(path, []).append(answer)

    def run(self, asked_to_stop: Callable[[], bool], progress: PatientBar) -> None:
        """Unmix what has no answer yet; say on standard error what cannot be unmixed.

        Raises:
          Terminated: it was asked to stop.
        """
        for index, path in enumerate(self.files):

            def pause(share: float, index: int = index) -> None:
                if not self._waiting:
                    progress.update(index + share, self._unmixed)
                if asked_to_stop():
                    raise Terminated

            problems = self._take(path, pause)
            for problem in problems:
                print(f"distax: {problem}", file=sys.stderr)
            if problems:
                self.failed.add(path)
            if self.files[path] != "finished":
                self.files[path] = "failed" if problems else "finished"
        self._unmix_waiting()

    def record(self) -> Record:
        """What is found so far, in the order of the files."""
        waited_for = {path for path, _ in self._waiting}
        order = {path: index for index, path in enumerate(self.files)}
        found = sorted(self.answers, key=lambda source: (order[source[0]], source[1]))
        return Record(
            options=self.estimators.options(),
            files={
                str(path): "unfinished" if path in waited_for and state == "finished" else state
                for path, state in self.files.items()
            },
            images=tuple(self.answers[source] for source in found),
        )

    def _take(self, path: Path, pause: Callable[[float], None]) -> list[str]:
        """Unmix a file, with a pause after each image, told the share done; what is wrong there."""
        if self.files[path] == "finished" and not any(map(self._drawn, self._known.get(path, []))):
            return []
        problems = []
        try:
            with open_frames(path, self.estimators.frame.extension) as content:
                if self.residual and len(content) > 1:
                    raise DistaxError(
                        f"{path}: holds {len(content)} images, and the residual is one frame's; "
                        "save the one you want by itself"
                    )
                for number, frame in enumerate(content):
                    try:
                        self._take_one((path, number), frame)
                    except DistaxError as error:
                        problems.append(f"{path}: image {number}, {error}")
                    pause((number + 1) / len(content))
        except DistaxError as error:
            problems.append(str(error))
        return problems

    def _drawn(self, known: Answer | FrameAnswer) -> bool:
        """Whether an image that has its answer is needed all the same, for a picture of it."""
        if isinstance(known, FrameAnswer):
            return self.residual is not None or self.pictures.wants_frame()
        return self.pictures.wants_image()

    def _take_one(self, source: Source, frame: Frame) -> None:
        known = self.answers.get(source)
        if known is not None and not self._drawn(known):
            return
        if frame.shape != self.estimators.sensor.shape:
            self._unmix_frame(source, frame)
        elif self.residual:
            raise DistaxError(
                "an image of the sensor's size has no residual file; --report shows what is left"
            )
        else:
            self._take_image(source, np.asarray(frame.pixels[:], np.float32))

    def _take_image(self, source: Source, image: np.ndarray) -> None:
        unmixer = self.estimators.of_images
        for problem in unmixer.check(image[None]).values():
            raise DistaxError(problem)
        self.pictures.reserve(source)
        self._waiting[source] = image
        if len(self._waiting) >= unmixer.portion_size:
            self._unmix_waiting()

    def _unmix_waiting(self) -> None:
        if not self._waiting:
            return
        sources, images = list(self._waiting), np.stack(list(self._waiting.values()))
        found = self.estimators.of_images.unmix_portion(images)
        for row, source in enumerate(sources):
            targets = jax.tree.map(lambda leaf, row=row: leaf[row], found)
            self.pictures.add_image(source, images[row], targets)
        self.answers |= dict(zip(sources, answers_for(sources, found), strict=True))
        self._unmixed += len(sources)
        self._waiting.clear()

    def _unmix_frame(self, source: Source, frame: Frame) -> None:
        from distax.frames.residual import Residual
        from distax.io.writing import write_image

        unmixer = self.estimators.for_frame(frame.saturation)
        found = unmixer(frame.pixels)
        residual = Residual(frame.pixels, found, unmixer.sensor)
        if self.residual:
            write_image(self.residual, residual, frame.header)
        self.pictures.add_frame(source, frame.pixels, found, residual)
        self.answers[source] = answer_for_frame(source, frame, found)
        self._unmixed += 1
