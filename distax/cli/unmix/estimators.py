"""What unmixes images and what unmixes frames, by the options of `distax unmix`."""

import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distax.cli.choosing import Method, chosen_unmixer
from distax.cli.options import FrameOptions, adapted
from distax.cli.prior_options import PriorOptions
from distax.cli.unmix.answers import Answer, FrameAnswer
from distax.cli.unmix.tables import Means
from distax.imaging.sensor import Sensor
from distax.runtime.errors import DistaxError

if TYPE_CHECKING:
    from distax.frames import FrameUnmixer
    from distax.unmixer import Unmixer


@dataclass(frozen=True)
class Estimators:
    """The unmixers that options describe, each made when there is something for it.

    Raises:
      DistaxError: a prior for a method that takes none.
    """

    method: Method | None
    checkpoint: str | None
    sensor_file: Path | None
    threshold: float | None
    prior: PriorOptions
    frame: FrameOptions

    def __post_init__(self) -> None:
        if self.prior.said and (self.checkpoint or self.method in ("fast", "grid")):
            what = "a checkpoint" if self.checkpoint else f"the method {self.method}"
            raise DistaxError(
                f"{what} knows only the prior of its training: leave the options of --prior out, "
                "or choose the method posterior or refine"
            )

    @cached_property
    def sensor(self) -> Sensor:
        """The sensor whose images are no frames."""
        from distax.io.sensor_file import read_sensor

        if not self.prior.said:
            return self.of_images.sensor
        return read_sensor(self.sensor_file) if self.sensor_file else Sensor()

    @cached_property
    def of_images(self) -> "Unmixer":
        """Unmixes images of the sensor's size."""
        from distax.unmixer import Unmixer

        if not self.prior.said:
            return chosen_unmixer(self.method, self.checkpoint, self.threshold, self.sensor_file)
        prior = self.prior.of_images(self.sensor)
        return Unmixer(method=self.method, sensor=self.sensor, prior=prior)

    @cached_property
    def of_frames(self) -> "FrameUnmixer":
        """Unmixes frames whose file says nothing of its camera."""
        return self.frame.unmixer(self.method, self.checkpoint, self.sensor_file, self.prior)

    def for_frame(self, saturation: float | None) -> "FrameUnmixer":
        """Unmixes a frame whose file says where it clips, or not."""
        return replace(self.of_frames, sensor=adapted(self.of_frames.sensor, saturation))

    def means(self, answer: Answer | FrameAnswer) -> Means:
        """What an answer was found by."""
        if isinstance(answer, FrameAnswer):
            unmixer = self.for_frame(answer.saturation)
            return Means(unmixer.method, unmixer.sensor, answer.threshold)
        own = self.of_images
        threshold = own.threshold if own.method == "grid" else None
        return Means(str(own.method), own.sensor, threshold)

    def options(self) -> dict[str, Any]:
        """All that answers depend on besides files and the version, as JSON holds it."""
        about = {
            "method": self.method,
            "checkpoint": self.checkpoint,
            "sensor": asdict(self.sensor),
            "threshold": self.threshold,
            "prior": asdict(self.prior),
            "frame": asdict(self.frame),
        }
        plain: dict[str, Any] = json.loads(json.dumps(about))
        return plain
