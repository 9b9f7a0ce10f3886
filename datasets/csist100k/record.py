"""Records of the dataset: their fields, writing and reading."""

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Float, UInt8

from distax.datasets.annotated import MAX_TARGETS
from distax.datasets.storage import Record
from distax.datasets.truth import read_truth
from distax.imaging.scenes import IMAGE_SHAPE
from distax.imaging.targets import Targets


def features() -> tfds.features.FeaturesDict:
    """Returns TFDS's description of a record; targets are padded with zeros to `MAX_TARGETS`."""
    return tfds.features.FeaturesDict(
        {
            # Bytes are stored and read faster than TFDS's default, a list of 64-bit integers.
            "image": tfds.features.Tensor(shape=IMAGE_SHAPE, dtype=np.uint8, encoding="bytes"),
            "position": tfds.features.Tensor(shape=(MAX_TARGETS, 2), dtype=np.float32),
            "intensity": tfds.features.Tensor(shape=(MAX_TARGETS,), dtype=np.float32),
            "count": tfds.features.Scalar(dtype=np.int64),
            "id": tfds.features.Scalar(dtype=np.int64),
        }
    )


def make_record(
    identifier: int,
    image: UInt8[np.ndarray, "height width"],
    position: Float[np.ndarray, "targets 2"],
    intensity: Float[np.ndarray, " targets"],
) -> Record:
    """Makes the record of an image and its one to `MAX_TARGETS` targets.

    Args:
      identifier: the record's id.
      image: pixels in counts.
      position: rows and columns in pixels.
      intensity: total fluxes in counts.
    """
    padding = MAX_TARGETS - len(intensity)
    return {
        "image": image,
        "position": np.pad(position.astype(np.float32), ((0, padding), (0, 0))),
        "intensity": np.pad(intensity.astype(np.float32), (0, padding)),
        "count": len(intensity),
        "id": identifier,
    }


def record_to_example(record: Record) -> tuple[Float[np.ndarray, "*batch height width"], Targets]:
    """Converts a record, or records stacked along leading axes, to an image and its truth.

    Returns:
      The image in counts as float32, and Targets `[*batch, 5]` of NumPy arrays with the intensity
      as score.

    Raises:
      DistaxError: as `truth.read_truth`.
    """
    return np.asarray(record["image"], np.float32), read_truth(record)
