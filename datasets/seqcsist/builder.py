"""Builds SeqCSIST on disk with TFDS."""

from collections.abc import Iterator
from functools import partial
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from distax.datasets.annotated import SPLIT_FOLDERS
from distax.datasets.seqcsist import released
from distax.datasets.seqcsist.configs import (
    PREDEFINED,
    Config,
    SimulatedConfig,
    get_config,
)
from distax.datasets.seqcsist.record import features, make_record, record_to_example
from distax.datasets.simulation import simulate_records
from distax.datasets.storage import ArrayRecordBuilder, Dataset, Record, ReleasedConfig
from distax.imaging.motion import SEQCSIST, simulate
from distax.runtime.buckets import as_path

BATCH = 100
"""Sequences simulated at once. Changing it changes the records."""


class SeqCsist(ArrayRecordBuilder):
    """Sequences of 20 infrared frames with closely spaced moving targets, and their truth.

    SeqCSIST (arXiv:2507.09556) publishes the number, length and size of its sequences, not how
    targets move. Records are in the order of their ids. They are stored as ArrayRecord, which can
    be read at random and without TensorFlow.
    """

    # TFDS would derive seq_csist from the class, a name used nowhere else.
    name = "seqcsist"
    # Raise it with every change of the sequences: of the prior, the sensor or the recipe.
    VERSION = tfds.core.Version("2.0.0")
    RELEASE_NOTES: ClassVar = {
        "2.0.0": "Two to four targets in simulated sequences, as published.",
        "1.0.0": "First version, with one to five targets.",
    }
    BUILDER_CONFIGS: ClassVar = list(PREDEFINED.values())
    HOMEPAGE = "https://arxiv.org/abs/2507.09556"
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    The configuration `released` reads the published files; `simulated` needs none.
    Download SeqCSIST as its authors describe (arXiv:2507.09556) and unpack it, so that the manual
    directory holds track_5000_20/ with train/, val/ and test/, each with image/image_<k>.png and
    annotation/COS<k>.xml.
    """

    @staticmethod
    def resolve_config(config: str | Config) -> Config:
        """Returns a configuration by its name; see `get_config`."""
        return get_config(config)

    @staticmethod
    def record_features() -> tfds.features.FeaturesDict:
        """Returns TFDS's description of a record."""
        return features()

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[int, Record]]]:
        config = self.builder_config
        if isinstance(config, ReleasedConfig):
            root = as_path(dl_manager.manual_dir)
            # The files of all splits are checked before any record is written.
            found = {split: released.find_sequences(root, split) for split in SPLIT_FOLDERS}
            return {split: released.read_records(sequences) for split, sequences in found.items()}
        return {split: self._generate_examples(config, split) for split in config.sizes}

    def _generate_examples(
        self, config: SimulatedConfig, split: str
    ) -> Iterator[tuple[int, Record]]:
        draw = partial(simulate, prior=SEQCSIST)
        for index, (frames, targets) in enumerate(simulate_records(config, split, draw, BATCH)):
            present = targets.mask[0]
            position, intensity = np.asarray(targets.position), np.asarray(targets.intensity)
            yield index, make_record(index, frames, position[:, present], intensity[:, present])


DATASET = Dataset(
    builder=SeqCsist,
    title="SeqCSIST",
    prefix="seqcsist/",
    get_config=get_config,
    record_to_example=record_to_example,
    check_manual_dir=released.LAYOUT.check_manual_dir,
)

build = DATASET.build
