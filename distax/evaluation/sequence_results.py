"""SeqCSIST's protocol (arXiv 2507.09556) and results on sequences, as plain numbers."""

from dataclasses import asdict, dataclass
from typing import Any

from distax.evaluation.results import Evaluation
from distax.runtime.errors import DistaxError, check_not_negative, check_positive, check_whole


@dataclass(frozen=True)
class SequenceProtocol:
    """Protocol of SeqCSIST: detections above a threshold, in all frames but the outer ones.

    Attributes:
      threshold: counts that a detection needs.
      margin: frames at each end of a sequence that are not scored. 2 leaves frames 3 to 18 of 20.
      shifted_rates: True to compare the answer of frame f with the truth of frame f − margin in the
        detection rate and the false rate, as the published code does by mistake.

    Raises:
      DistaxError: the threshold is not positive, or the margin is negative.
    """

    threshold: float = 70.0
    margin: int = 2
    shifted_rates: bool = False

    def __post_init__(self) -> None:
        check_positive(threshold=self.threshold)
        check_whole(margin=self.margin)
        check_not_negative(margin=self.margin)

    def frames(self, length: int) -> range:
        """Returns the scored frames of a sequence, counted from 0.

        Raises:
          DistaxError: no frame would be scored.
        """
        if length <= 2 * self.margin:
            raise DistaxError(
                f"a sequence of {length} frames is too short: the first and the last {self.margin} "
                f"frames are not scored; give at least {2 * self.margin + 1} frames"
            )
        return range(self.margin, length - self.margin)


@dataclass(frozen=True)
class SequenceEvaluation:
    """Results over sequences. Keys of dictionaries are text, as in `Evaluation`.

    Attributes:
      sequences: number of sequences.
      protocol: the protocol.
      frames: results over the scored frames of all sequences.
      detection_rate: by matching radius in pixels, the share of true targets that are matched; see
        `metrics.RateSums`.
      false_rate: by matching radius, the share of detections that are not matched.
      by_frame: CSO-mAP of each scored frame, with detections ranked by the estimator's own score.
        Frames are counted from 1, as the paper does.
    """

    sequences: int
    protocol: SequenceProtocol
    frames: Evaluation
    detection_rate: dict[str, float]
    false_rate: dict[str, float]
    by_frame: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Converts to plain numbers and dictionaries, for JSON."""
        return asdict(self)
