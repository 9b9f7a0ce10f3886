"""Whole frames of a sequence, unmixed one after the other and tracked."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from distax.cli.naming import name_image
from distax.cli.options import OptionError
from distax.cli.unmix.runner import Unmixers, assuming
from distax.frames import FrameTargets
from distax.frames.background import BackgroundError
from distax.frames.psf import format_sigma
from distax.imaging.targets import Targets, make_targets
from distax.io.frames import open_frames
from distax.io.pixels import Frame, to_floats
from distax.io.reading import Reading
from distax.runtime.errors import DistaxError
from distax.runtime.progress import PatientBar
from distax.runtime.terminal import tell

if TYPE_CHECKING:
    from distax.frames import FrameUnmixer
    from distax.tracking import FrameTracker, FrameTracks, Scene


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
      found: targets of the frames so far; None for a frame without known pixels or background.
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

        tracker.check_length(len(self.images.sources))
        with PatientBar("frame", len(self.images.sources)) as progress:
            for path, number, frame in self._frames():
                self.found.append(self._unmix(path, number, frame))
                progress.update(len(self.found))
        self._share_psf()
        wanted = tracker.camera_motion in ("auto", "scene")
        scene = register_scenes(self._scenes()) if wanted else None
        return track_frames(self.found, tracker, scene)

    @property
    def unmixer(self) -> "FrameUnmixer":
        """Unmixer of the first frame that could be used, with the PSF that it assumed."""
        first = next((frame.psf for frame in self.found if frame is not None), None)
        return assuming(self.unmixers.for_frame(None), first)

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

    def _frames(self) -> Iterator[tuple[Path, int, Frame]]:
        """Yields each frame with its file and its number there, while the file is open."""
        for path in dict.fromkeys(path for path, _ in self.images.sources):
            with open_frames(path, self.reading) as frames:
                for number, frame in enumerate(frames):
                    yield path, number, frame

    def _scenes(self) -> Iterator["Scene | None"]:
        """Yields what is behind the targets of each frame."""
        from distax.tracking import make_scene

        for (_, _, frame), found in zip(self._frames(), self.found, strict=True):
            if found is None:
                yield None
            else:
                yield make_scene(frame.pixels, found, _widest_sigma(found))

    def _share_psf(self) -> None:
        """Unmixes frames that did not show the width of the PSF with the width of the others."""
        checks = [frame.psf for frame in self.found if frame is not None and frame.psf]
        measured = [check.sigma for check in checks if check.source == "measured"]
        unknown = [check for check in checks if check.source == "default"]
        if not measured or not unknown:
            return
        pairs = [width if isinstance(width, tuple) else (width, width) for width in measured]
        row, column = np.median(pairs, axis=0).tolist()
        sigma = row if row == column else (row, column)
        tell(
            f"{len(measured)} of {len(checks)} frames show a PSF of sigma {format_sigma(sigma)} "
            "px, and the others are unmixed with it"
        )
        for index, (path, number, frame) in enumerate(self._frames()):
            before = self.found[index]
            if before is not None and before.psf in unknown:
                self.found[index] = self._unmix(path, number, frame, sigma)

    def _unmix(
        self,
        path: Path,
        number: int,
        frame: Frame,
        sigma: float | tuple[float, float] | None = None,
    ) -> FrameTargets | None:
        """Unmixes a frame, and names one without known pixels or background on standard error.

        Args:
          path: the frame's file.
          number: its number in that file.
          frame: the frame.
          sigma: standard deviation of the PSF, if that is to replace the one of the options.
        """
        try:
            counts = to_floats(frame.pixels[:])
            known = np.isfinite(counts)
            if not known.any():
                tell(f"{path}: image {number} has no known pixel; its targets count as missed")
                return None
            unmixer = self.unmixers.for_frame(frame.saturation)
            if sigma is not None:
                sensor = replace(unmixer.sensor, sigma=sigma)
                return replace(unmixer, sensor=sensor, measure_psf=False)(counts)
            answer = unmixer(counts)
            self.total += np.where(known, counts, 0.0), known
        except OptionError:
            raise
        except BackgroundError as error:
            tell(f"{path}: image {number}, {error}; its targets count as missed")
            return None
        except DistaxError as error:
            raise DistaxError(name_image(path, number, error)) from None
        if answer.psf and not any(self.found):
            tell(f"{path}: image {number}, {answer.psf.line}")
        return answer


def _widest_sigma(found: FrameTargets) -> float:
    """Returns the standard deviation of the PSF that a frame was unmixed with, in pixels."""
    return float(np.max(found.psf.sigma)) if found.psf else 1.0
