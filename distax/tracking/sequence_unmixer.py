"""Unmixer of sequences by a model that answers a frame from several frames."""

from dataclasses import dataclass, field
from os import PathLike

import numpy as np
from jaxtyping import Array, Float

from distax.evaluation import SequenceProtocol
from distax.fitting.estimators import reader
from distax.imaging.checks import as_counts, check_sequences
from distax.imaging.motion import SEQCSIST, MotionPrior
from distax.imaging.sensor import Sensor
from distax.imaging.targets import Targets
from distax.models import SequenceModel
from distax.runtime.batching import in_batches, sequence_batch
from distax.runtime.errors import DistaxError, check_positive
from distax.runtime.fields import check_fields


@dataclass(frozen=True, eq=False)
class SequenceUnmixer:
    """Reads targets off the grids of a model of sequences, at a threshold.

    Attributes:
      model: the model.
      threshold: counts that a node needs to be reported. Default: 70, that of SeqCSIST's protocol.
      prior: prior of the sequences that the model was trained on. Default: SeqCSIST's.

    Raises:
      DistaxError: a value has another type, or the threshold is not positive.
    """

    model: SequenceModel
    threshold: float = SequenceProtocol.threshold
    prior: MotionPrior = field(default=SEQCSIST)

    def __post_init__(self) -> None:
        check_fields(self)
        check_positive(threshold=self.threshold)

    @property
    def sensor(self) -> Sensor:
        """The sensor that the model was trained for."""
        return self.model.sensor

    @classmethod
    def load(cls, name: str | PathLike[str], threshold: float | None = None) -> "SequenceUnmixer":
        """Returns an unmixer with a trained model of sequences.

        Args:
          name: the folder of a training run, local or in a bucket, whose best model is loaded; or a
            safetensors file of distax.
          threshold: counts that a node needs to be reported. Default: that of the training run.

        Raises:
          DistaxError: there is no such file or folder, it cannot be read, or its model takes single
            images.
        """
        unmixer = find_sequence_unmixer(name, threshold)
        if unmixer is None:
            raise DistaxError(f"the model of {name} takes single images: use Unmixer.load")
        return unmixer

    def answered(self, frames: int) -> range:
        """Returns the frames that the model answers; see `SequenceModel.answered`."""
        return self.model.answered(frames)

    def __call__(self, frames: Float[Array | np.ndarray, "..."], name: str = "frames") -> Targets:
        """Finds the targets in the answered frames of raw sequences.

        Args:
          frames: raw sequences `[N, T, height, width]` in counts.
          name: name of the frames in error messages.

        Returns:
          Targets `[N, answered, K]`, brightest first, of the frames `answered(T)`. The first and
          the last frames of a sequence have no answer.

        Raises:
          DistaxError: the array does not have four axes, holds no sequences or frames of another
            size than the sensor's; a sequence is too short; a pixel is not one that the sensor can
            deliver.
        """
        pixels = as_counts(frames, name)
        check_sequences(pixels, self.sensor, name)
        length = pixels.shape[1]
        # The shortest sequence is checked here, as the compiled function would.
        self.answered(length)
        read_off = reader(self.model, self.threshold)
        return in_batches(read_off, pixels, sequence_batch(length), smallest=1)


def find_sequence_unmixer(
    name: str | PathLike[str], threshold: float | None = None
) -> SequenceUnmixer | None:
    """Loads a trained model, as `SequenceUnmixer.load`; returns None if it takes single images."""
    from distax import weights

    model, config = weights.find(name)
    if not isinstance(model, SequenceModel):
        return None
    return SequenceUnmixer(
        model, config.threshold if threshold is None else threshold, config.motion_prior
    )
