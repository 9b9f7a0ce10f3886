"""Simulated sequences like SeqCSIST's as a TFDS dataset.

SeqCSIST (arXiv:2507.09556) publishes the number, length and size of its sequences, but not how
targets move. Call `build` once, then `open_split` for random access to the records (as grain needs
it) or `read_split` for whole arrays.
"""

import dataclasses
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Float, UInt8

from distax.datasets.simulation import SimulatedSizes, find_config, simulate_records
from distax.datasets.storage import ArrayRecordBuilder, Dataset, Record
from distax.imaging.motion import MotionPrior, simulate
from distax.imaging.sensor import Sensor
from distax.imaging.targets import Targets

FRAMES = MotionPrior().frames
MAX_TARGETS = MotionPrior().placement.max_targets
BATCH = 100
"""Sequences simulated at once. Changing it changes the records."""


@dataclasses.dataclass(eq=False, kw_only=True)
class SimulatedConfig(SimulatedSizes):
    """Sequences simulated with the imaging model and the default motion prior.

    The defaults are SeqCSIST's sizes: 70,000, 15,000 and 15,000 frames in sequences of 20.
    """

    train: int = 3_500
    validation: int = 750
    test: int = 750


PREDEFINED: dict[str, SimulatedConfig] = {"simulated": SimulatedConfig()}


def get_config(config: str | SimulatedConfig) -> SimulatedConfig:
    """Returns a configuration by its name, or the given configuration as TFDS expects it.

    Raises:
      DistaxError: no configuration has that name.
    """
    return find_config(config, PREDEFINED, SimulatedConfig, "SeqCSIST")


class SeqCsist(ArrayRecordBuilder):
    """Simulated sequences of 20 infrared frames with one to five closely spaced moving targets.

    SeqCSIST (arXiv:2507.09556) publishes the number, length and size of its sequences, not how
    targets move. Records are in the order of their ids. They are stored as ArrayRecord, which can
    be read at random and without TensorFlow.
    """

    # TFDS would derive seq_csist from the class, a name used nowhere else.
    name = "seqcsist"
    # Raise it with every change of the sequences: of the prior, the sensor or the recipe.
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First version."}
    BUILDER_CONFIGS: ClassVar = list(PREDEFINED.values())
    HOMEPAGE = "https://arxiv.org/abs/2507.09556"

    @staticmethod
    def resolve_config(config: str | SimulatedConfig) -> SimulatedConfig:
        """Returns a configuration by its name; see `get_config`."""
        return get_config(config)

    @staticmethod
    def record_features() -> tfds.features.FeaturesDict:
        """Returns TFDS's description of a record.

        Targets are padded with zeros to `MAX_TARGETS`. A slot is the same target in every frame.
        """
        shape = (FRAMES, *Sensor().shape)
        return tfds.features.FeaturesDict(
            {
                # Bytes are stored and read faster than TFDS's default, lists of 64-bit integers.
                "frames": tfds.features.Tensor(shape=shape, dtype=np.uint8, encoding="bytes"),
                "position": tfds.features.Tensor(shape=(FRAMES, MAX_TARGETS, 2), dtype=np.float32),
                "intensity": tfds.features.Tensor(shape=(FRAMES, MAX_TARGETS), dtype=np.float32),
                "count": tfds.features.Scalar(dtype=np.int64),
                "id": tfds.features.Scalar(dtype=np.int64),
            }
        )

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[int, Record]]]:
        return {split: self._generate_examples(split) for split in self.builder_config.sizes}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, Record]]:
        records = simulate_records(self.builder_config, split, simulate, BATCH)
        for index, (frames, targets) in enumerate(records):
            yield index, make_record(index, frames, targets)


def make_record(
    identifier: int, frames: UInt8[np.ndarray, "frames height width"], targets: Targets
) -> Record:
    """Makes the record of a sequence and its targets `[frames, MAX_TARGETS]`, padding last."""
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
    """Converts a record, or records stacked along leading axes, to frames and their truth.

    Returns:
      Frames in counts as float32, and Targets `[*batch, frames, 5]` of NumPy arrays with the
      intensity as score. A slot is the same target in every frame.
    """
    intensity = np.asarray(record["intensity"], np.float32)
    mask = np.arange(MAX_TARGETS) < np.expand_dims(record["count"], (-2, -1))
    targets = Targets(
        position=np.asarray(record["position"], np.float32),
        intensity=intensity,
        mask=np.broadcast_to(mask, intensity.shape),
        score=intensity,
    )
    return np.asarray(record["frames"], np.float32), targets


DATASET = Dataset(
    builder=SeqCsist,
    title="SeqCSIST",
    prefix="seqcsist/",
    get_config=get_config,
    record_to_example=record_to_example,
)

build = DATASET.build
open_split = DATASET.open_split
read_split = DATASET.read_split
