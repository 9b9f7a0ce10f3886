"""Whole frames of a sequence, unmixed one after the other and tracked."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from distax.cli.unmix.runner import Unmixers, name_image
from distax.frames import FrameTargets
from distax.imaging.targets import Targets, make_targets
from distax.io.frames import open_frames
from distax.io.pixels import Frame, to_floats
from distax.io.reading import Reading
from distax.runtime.errors import DistaxError
from distax.runtime.progress import PatientBar

if TYPE_CHECKING:
    from distax.tracking import FrameTracker, FrameTracks, Scene, Shifts


@dataclass(frozen=True)
class Images:
    """Images of a sequence, which all have one size.

    Attributes:
      sources: file of each image and its number in that file.
      shape: height and width in pixels.
    """

    sources: tuple[tuple[Path, int], ...]
    shape: tuple[int, int]


def list_images(files: Sequence[Path], reading: Reading) -> Images:
    """Lists the images of files without reading their pixels.

    Raises:
      DistaxError: a file cannot be read, or the images differ in size.
    """
    sources: list[tuple[Path, int]] = []
    shape = None
    for path in files:
        with open_frames(path, reading) as frames:
            for number, frame in enumerate(frames):
                shape = shape or frame.shape
                if frame.shape != shape:
                    (height, width), (first_height, first_width) = frame.shape, shape
                    raise DistaxError(
                        f"{path}: image {number} has {height}×{width} px, the first of {files[0]} "
                        f"has {first_height}×{first_width}; give images of one size"
                    )
                sources.append((path, number))
    assert shape is not None  # no file is without images
    return Images(tuple(sources), shape)


@dataclass
class WholeFrames:
    """Whole frames as they are unmixed.

    Attributes:
      images: the frames.
      reading: settings of the reader.
      unmixers: makes the unmixer of a frame.
      found: targets of the frames so far; None for a frame without known pixels.
      total: sum of the known counts of each pixel, and their number.
    """

    images: Images
    reading: Reading
    unmixers: Unmixers
    found: list[FrameTargets | None]
    total: Float[np.ndarray, "2 height width"]

    @classmethod
    def of(cls, images: Images, reading: Reading, unmixers: Unmixers) -> "WholeFrames":
        """Returns frames of which none is unmixed yet."""
        return cls(images, reading, unmixers, [], np.zeros((2, *images.shape)))

    def track(self, tracker: "FrameTracker") -> "FrameTracks":
        """Unmixes all frames and tracks their targets.

        Raises:
          DistaxError: a frame cannot be read or unmixed, or the tracker refuses them.
        """
        from distax.tracking import register_scenes, track_frames

        scene: Shifts | None = None
        if tracker.camera_motion in ("auto", "scene"):
            scene = register_scenes(self._scenes())
        else:
            for _ in self._scenes():
                pass
        return track_frames(self.found, tracker, scene)

    @property
    def mean(self) -> Float[np.ndarray, "height width"]:
        """Mean of the frames in counts; NaN where no frame has a known pixel."""
        counts, number = self.total
        return np.where(number > 0, counts / np.maximum(number, 1), np.nan)

    @property
    def detections(self) -> Targets:
        """Targets of all frames in one list."""
        lists = [frame.targets for frame in self.found if frame is not None]
        position = np.concatenate([targets.position for targets in lists])
        intensity = np.concatenate([np.asarray(targets.intensity) for targets in lists])
        return make_targets(position, intensity, np.ones(len(position), bool))

    def _scenes(self) -> Iterator["Scene | None"]:
        """Unmixes one frame after the other, and yields what is behind its targets."""
        from distax.tracking import make_scene

        with PatientBar("frame", len(self.images.sources)) as progress:
            for path in dict.fromkeys(path for path, _ in self.images.sources):
                with open_frames(path, self.reading) as frames:
                    for number, frame in enumerate(frames):
                        try:
                            answer = self._unmix(path, number, frame)
                        except DistaxError as error:
                            raise DistaxError(name_image(path, number, error)) from None
                        self.found.append(answer)
                        progress.update(len(self.found))
                        if answer is None:
                            yield None
                        else:
                            yield make_scene(frame.pixels, answer, _widest_sigma(answer))

    def _unmix(self, path: Path, number: int, frame: Frame) -> FrameTargets | None:
        """Unmixes a frame; names one without known pixels on standard error."""
        counts = to_floats(frame.pixels[:])
        known = np.isfinite(counts)
        if not known.any():
            print(
                f"distax: {path}: image {number} has no known pixel; its targets count as missed",
                file=sys.stderr,
            )
            return None
        self.total += np.where(known, counts, 0.0), known
        answer = self.unmixers.for_frame(frame.saturation)(counts)
        if answer.psf and not any(self.found):
            print(f"distax: {path}: image {number}, {answer.psf.line}", file=sys.stderr)
        return answer


def _widest_sigma(found: FrameTargets) -> float:
    """Returns the standard deviation of the PSF that a frame was unmixed with, in pixels."""
    return float(np.max(found.psf.sigma)) if found.psf else 1.0
