"""Parameters of the tracker of whole frames."""

from dataclasses import dataclass
from typing import Literal, get_args

from distax.runtime.errors import DistaxError, check_not_negative, check_positive, unknown
from distax.runtime.fields import check_fields
from distax.tracking.gating import gate_threshold

CameraMotion = Literal["auto", "targets", "scene", "none"]
"""Source of the camera's shift; see `FrameTracker`."""
_LEAST_NOISE = 1e-4
"""Least change of a velocity in pixels per frame, which keeps the smoother well conditioned."""


@dataclass(frozen=True)
class FrameTracker:
    """Parameters of the tracker of whole frames.

    Attributes:
      speed: largest speed of a target in pixels per frame, the camera's motion included.
      acceleration: largest change of a target's velocity from one frame to the next, in pixels per
        frame.
      max_missed_detections: missed detections in a row that a track survives; one more ends it.
      min_detections: detections that confirm a track; tracks with fewer are false tracks. A
        detection that the imaging model does not explain (a misfit above 1.4) counts half.
      camera_motion: source of the camera's shift in each frame: "targets", "scene" or "none", or
        "auto", which takes the targets if most frames hold at least three tracks, or else the scene
        if it shows the shift, or else none.
      jitter: standard deviation along each axis of the camera's shift that the gates allow for
        before the shift is known, in pixels. It has no effect if the camera's motion is "none".
      new_targets: mean number of detections in a frame that continue no track.
      gate_probability: probability that a target's detection lies inside its track's gate.

    Raises:
      DistaxError: a value is out of range, or the source is unknown.
    """

    speed: float = 2.0
    acceleration: float = 0.0
    max_missed_detections: int = 3
    min_detections: int = 4
    camera_motion: str = "auto"
    jitter: float = 0.5
    new_targets: float = 1.0
    gate_probability: float = 0.999

    def __post_init__(self) -> None:
        check_fields(self)
        check_positive(
            speed=self.speed, min_detections=self.min_detections, new_targets=self.new_targets
        )
        check_not_negative(
            acceleration=self.acceleration,
            max_missed_detections=self.max_missed_detections,
            jitter=self.jitter,
        )
        if self.camera_motion not in (sources := get_args(CameraMotion)):
            raise unknown("camera motion", self.camera_motion, sources)
        if not 0 < self.gate_probability < 1:
            raise DistaxError(
                f"gate_probability must lie between 0 and 1, got {self.gate_probability}"
            )

    def check_length(self, frames: int, used: int | None = None) -> None:
        """Raises DistaxError if a sequence has fewer frames than a track needs detections.

        Args:
          frames: number of its frames.
          used: number of those that can be used. Default: all.
        """
        if min(frames, frames if used is None else used) < self.min_detections:
            part = "" if used in (None, frames) else f", of which {used} can be used,"
            raise DistaxError(
                f"{frames} frames{part} are too few: a track needs {self.min_detections} "
                "detections; give more frames, or ask for fewer detections"
            )

    @property
    def velocity_std(self) -> float:
        """Standard deviation of a velocity along each axis: half the radius of a uniform disc."""
        return self.speed / 2

    @property
    def process_noise(self) -> float:
        """Standard deviation of the change of a velocity along each axis, per frame."""
        return max(self.acceleration / 2, _LEAST_NOISE)

    @property
    def gate(self) -> float:
        """Largest squared Mahalanobis distance of a detection inside a track's gate."""
        return gate_threshold(self.gate_probability)
