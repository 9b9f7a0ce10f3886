"""The TFDS builder."""

from collections.abc import Iterator
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from distax.datasets.seqcsist.configs import PREDEFINED, SimulatedConfig, get_config
from distax.datasets.seqcsist.record import features, make_record
from distax.datasets.simulation import simulated
from distax.datasets.storage import Record
from distax.sequences import simulate

BATCH = 100  # Part of the recipe: another value gives other sequences.


class SeqCsist(tfds.core.GeneratorBasedBuilder):
    """Sequences of 20 infrared frames in which one to five closely spaced targets move.

    The sequences are simulated: SeqCSIST (arXiv:2507.09556) publishes their number, length and
    size, not how targets move. Records keep the order of their ids. They are written as
    ArrayRecord, which is read without TensorFlow and at random.
    """

    # As TFDS would write it, seq_csist, the dataset is nowhere called.
    name = "seqcsist"
    # To be raised with whatever changes the sequences: the law, the sensor, the recipe.
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First version."}
    BUILDER_CONFIGS: ClassVar = list(PREDEFINED.values())
    code_path = None  # as for Csist100k

    def __init__(
        self,
        *,
        config: str | SimulatedConfig = "simulated",
        file_format: str = "array_record",
        **options: Any,
    ) -> None:
        super().__init__(config=get_config(config), file_format=file_format, **options)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=features(),
            disable_shuffling=True,
            homepage="https://arxiv.org/abs/2507.09556",
        )

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[int, Record]]]:
        return {split: self._generate_examples(split) for split in self.builder_config.sizes}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, Record]]:
        for index, (frames, targets) in enumerate(
            simulated(self.builder_config, split, simulate, BATCH)
        ):
            yield index, make_record(index, frames, targets)
