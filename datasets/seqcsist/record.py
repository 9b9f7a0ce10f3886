"""What one record of the dataset holds, written and read."""

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Float, UInt8

from distax.datasets.storage import Record
from distax.imaging.motion import MotionPrior
from distax.imaging.sensor import Sensor
from distax.imaging.targets import Targets

FRAMES = MotionPrior().frames
MAX_TARGETS = MotionPrior().placement.max_targets


def features() -> tfds.features.FeaturesDict:
    """TFDS's description of a record; targets are padded with zeros to `MAX_TARGETS`.

    A target keeps its place along their axis from frame to frame.
    """
    shape = (FRAMES, *Sensor().shape)
    return tfds.features.FeaturesDict(
        {
            # Bytes are stored and read faster than TFDS's default, a list of 64-bit integers.
            "frames": tfds.features.Tensor(shape=shape, dtype=np.uint8, encoding="bytes"),
            "position": tfds.features.Tensor(shape=(FRAMES, MAX_TARGETS, 2), dtype=np.float32),
            "intensity": tfds.features.Tensor(shape=(FRAMES, MAX_TARGETS), dtype=np.float32),
            "count": tfds.features.Scalar(dtype=np.int64),
            "id": tfds.features.Scalar(dtype=np.int64),
        }
    )


def make_record(
    identifier: int, frames: UInt8[np.ndarray, "frames height width"], targets: Targets
) -> Record:
    """The record of one sequence and its targets `[frames, MAX_TARGETS]`, padding last."""
    return {
        "frames": frames,
        "position": np.asarray(targets.position, np.float32),
        "intensity": np.asarray(targets.intensity, np.float32),
        "count": int(targets.mask[0].sum()),
        "id": identifier,
    }


def record_to_example(
    record: Record,
) -> tuple[Float[np.ndarray, "*batch frames height width"], Targets]:
    """Frames and truth of a record, or of records stacked along leading axes.

    Returns:
      The frames in sensor counts as float32 and Targets `[*batch, frames, 5]` of NumPy arrays,
      ranked by their intensity, a slot being the same target in every frame.
    """
    intensity = np.asarray(record["intensity"], np.float32)
    real = np.arange(MAX_TARGETS) < np.expand_dims(record["count"], (-2, -1))
    targets = Targets(
        position=np.asarray(record["position"], np.float32),
        intensity=intensity,
        mask=np.broadcast_to(real, intensity.shape),
        score=intensity,
    )
    return np.asarray(record["frames"], np.float32), targets
