"""The TFDS builder."""

from collections.abc import Iterator
from typing import ClassVar

import tensorflow_datasets as tfds

from distax.datasets.builder import ArrayRecordBuilder
from distax.datasets.seqcsist.configs import PREDEFINED, get_config
from distax.datasets.seqcsist.record import features, make_record
from distax.datasets.simulation import simulated
from distax.datasets.storage import Record
from distax.imaging.motion import simulate

BATCH = 100  # Part of the recipe: another value gives other sequences.


class SeqCsist(ArrayRecordBuilder):
    """Sequences of 20 infrared frames in which one to five closely spaced targets move.

    The sequences are simulated: SeqCSIST (arXiv:2507.09556) publishes their number, length and
    size, not how targets move. Records keep the order of their ids. They are written as
    ArrayRecord, which is read without TensorFlow and at random.
    """

    # As TFDS would write it, seq_csist, the dataset is nowhere called.
    name = "seqcsist"
    # To be raised with whatever changes the sequences: the prior, the sensor, the recipe.
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First version."}
    BUILDER_CONFIGS: ClassVar = list(PREDEFINED.values())
    HOMEPAGE = "https://arxiv.org/abs/2507.09556"
    FEATURES = staticmethod(features)
    CONFIG = staticmethod(get_config)

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[int, Record]]]:
        return {split: self._generate_examples(split) for split in self.builder_config.sizes}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, Record]]:
        for index, (frames, targets) in enumerate(
            simulated(self.builder_config, split, simulate, BATCH)
        ):
            yield index, make_record(index, frames, targets)
