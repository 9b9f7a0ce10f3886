"""Builds CSIST-100K on disk with TFDS."""

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from distax.datasets.annotated import SPLIT_FOLDERS, find_pairs
from distax.datasets.csist100k import released
from distax.datasets.csist100k.configs import (
    PREDEFINED,
    Config,
    SimulatedConfig,
    get_config,
)
from distax.datasets.csist100k.record import features, make_record, record_to_example
from distax.datasets.simulation import simulate_records
from distax.datasets.storage import ArrayRecordBuilder, Dataset, Record, ReleasedConfig
from distax.imaging.scenes import simulate
from distax.runtime.buckets import as_path

BATCH = 1000
"""Images simulated at once. Changing it changes the records."""


class Csist100k(ArrayRecordBuilder):
    """Infrared images of one to five closely spaced targets, with their positions and fluxes.

    Records are in the order of their ids. They are stored as ArrayRecord, which can be read at
    random and without TensorFlow.
    """

    # Raise it with every change of the simulated images: of the prior, the sensor or the recipe.
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First version."}
    BUILDER_CONFIGS: ClassVar = list(PREDEFINED.values())
    HOMEPAGE = "https://arxiv.org/abs/2505.19148"
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    The configuration `released` reads the published files; `simulated` needs none.
    Download CSIST-100K as its authors describe (arXiv:2505.19148) and unpack it, so that the
    manual directory holds train/, val/ and test/, each with cso_img/image_<id>.png and
    Annotations/CSO<id>.xml.
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
            pairs = {split: find_pairs(root, split, released.LAYOUT) for split in SPLIT_FOLDERS}
            return {split: released.read_records(found) for split, found in pairs.items()}
        return {split: self._generate_examples(config, split) for split in config.sizes}

    def _generate_examples(
        self, config: SimulatedConfig, split: str
    ) -> Iterator[tuple[int, Record]]:
        records = simulate_records(config, split, simulate, BATCH)
        for index, (image, targets) in enumerate(records):
            mask = targets.mask
            position, intensity = np.asarray(targets.position), np.asarray(targets.intensity)
            yield index, make_record(index, image, position[mask], intensity[mask])


DATASET = Dataset(
    builder=Csist100k,
    title="CSIST-100K",
    prefix="",
    get_config=get_config,
    record_to_example=record_to_example,
    check_manual_dir=released.LAYOUT.check_manual_dir,
)

build = DATASET.build
