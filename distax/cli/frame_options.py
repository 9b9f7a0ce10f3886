"""What the command line says about frames."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from distax.cli.choosing import Method
from distax.errors import DistaxError

if TYPE_CHECKING:
    from distax.frames import FrameUnmixer
    from distax.interop.frames import Frame
    from distax.sensor import Sensor

_CAMERA = ("sigma", "full_well", "bit_depth", "read_noise", "electrons_per_count")


@dataclass(frozen=True)
class FrameOptions:
    """The camera and the targets of frames: images of any size but the sensor's."""

    sigma: float = 0.5
    """Standard deviation of the PSF in pixels."""
    full_well: float | None = None
    """Counts at which a pixel clips; what a FITS header says (SATURATE) without it."""
    bit_depth: int | None = None
    """Bits of a digitiser that rounds to whole counts."""
    read_noise: float | None = None
    """Noise of the background in counts; measured in the frame without it."""
    electrons_per_count: float | None = None
    """Gain, for the targets' own shot noise."""
    max_targets: int = 5
    """Most targets of a blob."""
    cluster: float | None = None
    """Side in pixels of the square that holds a blob's targets; 4 sigma without it."""
    min_intensity: float | None = None
    """Least intensity of a target in counts, if known; together with the largest."""
    max_intensity: float | None = None
    """Largest intensity of a target in counts, if known."""
    false_blobs: float = 0.01
    """Blobs that noise alone makes in a frame, on average: sets the detection threshold."""
    box: int = 64
    """Side in pixels of the boxes in which the background is measured."""
    extension: str | None = None
    """Name or number of the FITS extension; the first two-dimensional image without it."""

    def unmixer(
        self, method: Method | None, checkpoint: Path | None, sensor_file: Path | None = None
    ) -> "FrameUnmixer":
        """The unmixer that the options describe, by refine unless another method is named.

        Raises:
          DistaxError: a method that cannot unmix frames, a value out of range, or a camera that is
            described twice.
        """
        from distax.frames import FrameLaw, FrameUnmixer

        if checkpoint is not None or method not in (None, "refine", "posterior"):
            raise DistaxError(
                f"{'a checkpoint' if checkpoint else f'the method {method}'} unmixes images of its "
                "sensor's size only; choose the method refine or posterior for a frame"
            )
        return FrameUnmixer(
            sensor=self._camera(sensor_file),
            law=FrameLaw(
                max_targets=self.max_targets,
                cluster=self.cluster,
                min_intensity=self.min_intensity,
                max_intensity=self.max_intensity,
            ),
            method="refine" if method is None else method,
            false_blobs=self.false_blobs,
            box=self.box,
        )

    def _camera(self, sensor_file: Path | None) -> "Sensor":
        from distax.interop.sensor_file import read_sensor
        from distax.sensor import Sensor

        if sensor_file is None:
            camera = {name: getattr(self, name) for name in _CAMERA}
            return Sensor(**camera | {"read_noise": self.read_noise or 0.0})
        for name in _CAMERA:
            if getattr(self, name) != getattr(FrameOptions, name):
                option = f"--frame.{name.replace('_', '-')}"
                raise DistaxError(
                    f"--sensor and {option} both describe the camera; leave one of them out"
                )
        return read_sensor(sensor_file)


def adapted(unmixer: "FrameUnmixer", frame: "Frame") -> "FrameUnmixer":
    """The unmixer with what a frame's file says of its camera and the user does not."""
    if frame.clips_at is None or unmixer.sensor.full_well is not None:
        return unmixer
    return replace(unmixer, sensor=replace(unmixer.sensor, full_well=frame.clips_at))
