"""What the command line says about targets."""

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distax.frames import FramePrior
    from distax.imaging.scenes import ScenePrior
    from distax.imaging.sensor import Sensor


@dataclass(frozen=True)
class PriorOptions:
    """What is known of targets, in images of the sensor's size and in the blobs of frames."""

    max_targets: int | None = None
    """Most targets of an image or a blob; 5 without it."""
    cluster: float | None = None
    """Side in pixels of the square that holds them; without it 1 in an image of the sensor's size,
    4 sigma in a frame."""
    min_intensity: float | None = None
    """Least intensity of a target in counts; without it 220 in an image of the sensor's size,
    unknown in a frame, which takes both or neither."""
    max_intensity: float | None = None
    """Largest intensity of a target in counts; 250 or unknown without it."""

    @property
    def said(self) -> dict[str, Any]:
        """The options that are given."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def of_images(self, sensor: "Sensor") -> "ScenePrior":
        """CSIST-100K's prior in images of a sensor's size but for what is said.

        Raises:
          DistaxError: values that are out of range or do not go together.
        """
        from distax.unmixer import prior_for

        return replace(prior_for(sensor), **self.said)

    def of_frames(self) -> "FramePrior":
        """The usual prior of a frame's blobs but for what is said.

        Raises:
          DistaxError: values that are out of range or do not go together.
        """
        from distax.frames import FramePrior

        return FramePrior(**self.said)
