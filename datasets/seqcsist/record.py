"""Records of the dataset: their fields, writing and reading."""

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Float, UInt8

from distax.datasets.annotated import MAX_TARGETS
from distax.datasets.storage import Record
from distax.datasets.truth import read_truth
from distax.imaging.motion import SEQCSIST
from distax.imaging.scenes import IMAGE_SHAPE
from distax.imaging.targets import Targets

FRAMES = SEQCSIST.frames


def features() -> tfds.features.FeaturesDict:
    """Returns TFDS's description of a record.

    Targets are padded with zeros to `MAX_TARGETS`. A slot is the same target in every frame.
    """
    return tfds.features.FeaturesDict(
        {
            # Bytes are stored and read faster than TFDS's default, lists of 64-bit integers.
            "frames": tfds.features.Tensor(
                shape=(FRAMES, *IMAGE_SHAPE), dtype=np.uint8, encoding="bytes"
            ),
            "position": tfds.features.Tensor(shape=(FRAMES, MAX_TARGETS, 2), dtype=np.float32),
            "intensity": tfds.features.Tensor(shape=(FRAMES, MAX_TARGETS), dtype=np.float32),
            "count": tfds.features.Scalar(dtype=np.int64),
            "id": tfds.features.Scalar(dtype=np.int64),
        }
    )


def make_record(
    identifier: int,
    frames: UInt8[np.ndarray, "frames height width"],
    position: Float[np.ndarray, "frames targets 2"],
    intensity: Float[np.ndarray, "frames targets"],
) -> Record:
    """Makes the record of a sequence and its one to `MAX_TARGETS` targets.

    Args:
      identifier: the record's id.
      frames: pixels in counts.
      position: rows and columns in pixels.
      intensity: total fluxes in counts.
    """
    count = intensity.shape[1]
    padding = (0, 0), (0, MAX_TARGETS - count)
    return {
        "frames": frames,
        "position": np.pad(position.astype(np.float32), (*padding, (0, 0))),
        "intensity": np.pad(intensity.astype(np.float32), padding),
        "count": count,
        "id": identifier,
    }


def record_to_example(
    record: Record,
) -> tuple[Float[np.ndarray, "*batch frames height width"], Targets]:
    """Converts a record, or records stacked along leading axes, to frames and their truth.

    Returns:
      Frames in counts as float32, and Targets `[*batch, frames, 5]` of NumPy arrays with the
      intensity as score. A slot is the same target in every frame.

    Raises:
      DistaxError: as `truth.read_truth`.
    """
    return np.asarray(record["frames"], np.float32), read_truth(record)
