"""What the command line says about the camera of frames."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from distax.cli.choosing import Method
from distax.cli.prior_options import PriorOptions
from distax.runtime.errors import DistaxError

if TYPE_CHECKING:
    from distax.frames import FrameUnmixer
    from distax.imaging.sensor import Sensor

_CAMERA = ("sigma", "saturation", "bit_depth", "read_noise", "gain")


@dataclass(frozen=True)
class FrameOptions:
    """The camera of frames, images of any size but the sensor's, and how blobs are found."""

    sigma: float = 0.5
    """Standard deviation of the PSF in pixels."""
    saturation: float | None = None
    """Counts at which a pixel clips; what a FITS header says (SATURATE) without it."""
    bit_depth: int | None = None
    """Bits of a digitiser that rounds to whole counts."""
    read_noise: float | None = None
    """Noise of the background in counts; measured in the frame without it."""
    gain: float | None = None
    """Gain, for the targets' own shot noise."""
    false_blobs: float = 0.01
    """Blobs that noise alone makes in a frame, on average: sets the detection threshold."""
    box: int = 64
    """Side in pixels of the boxes in which the background is measured."""
    extension: str | None = None
    """Name or number of the FITS extension; the first two-dimensional image without it."""

    def unmixer(
        self,
        method: Method | None,
        checkpoint: str | None,
        sensor_file: Path | None = None,
        prior: PriorOptions = PriorOptions(),
    ) -> "FrameUnmixer":
        """The unmixer that the options describe, by refine unless another method is named.

        Raises:
          DistaxError: a method that cannot unmix frames, a value out of range, or a camera that is
            described twice.
        """
        from distax.frames import FrameUnmixer

        if checkpoint is not None or method not in (None, "refine", "posterior"):
            raise DistaxError(
                f"{'a checkpoint' if checkpoint else f'the method {method}'} unmixes images of its "
                "sensor's size only; choose the method refine or posterior for a frame"
            )
        return FrameUnmixer(
            sensor=self._camera(sensor_file),
            prior=prior.of_frames(),
            method="refine" if method is None else method,
            false_blobs=self.false_blobs,
            box=self.box,
        )

    def _camera(self, sensor_file: Path | None) -> "Sensor":
        from distax.imaging.sensor import Sensor
        from distax.io.sensor_file import read_sensor

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


def adapted(sensor: "Sensor", saturation: float | None) -> "Sensor":
    """The camera with what a frame's file says of its saturation and the user does not."""
    if saturation is None or sensor.saturation is not None:
        return sensor
    return replace(sensor, saturation=saturation)
