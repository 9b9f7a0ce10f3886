"""The TFDS builder."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import tensorflow_datasets as tfds

from distax.datasets.builder import ArrayRecordBuilder
from distax.datasets.csist100k import released, simulated
from distax.datasets.csist100k.configs import PREDEFINED, ReleasedConfig, get_config
from distax.datasets.csist100k.record import features
from distax.datasets.storage import Record


class Csist100k(ArrayRecordBuilder):
    """Infrared images of one to five closely spaced targets, with their positions and fluxes.

    Records keep the order of their ids. They are written as ArrayRecord, which is read without
    TensorFlow and at random.
    """

    # To be raised with whatever changes the simulated images: the prior, the sensor, the recipe.
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First version."}
    BUILDER_CONFIGS: ClassVar = list(PREDEFINED.values())
    HOMEPAGE = "https://arxiv.org/abs/2505.19148"
    FEATURES = staticmethod(features)
    CONFIG = staticmethod(get_config)
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    The configuration `released` reads the published files; `simulated` needs none.
    Download CSIST-100K as its authors describe (arXiv:2505.19148) and unpack it, so that the
    manual directory holds train/, val/ and test/, each with cso_img/image_<id>.png and
    Annotations/CSO<id>.xml.
    """

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[int, Record]]]:
        if isinstance(self.builder_config, ReleasedConfig):
            root = Path(os.fspath(dl_manager.manual_dir))
            # All splits are looked through before the first is written.
            pairs = {split: released.find_pairs(root, split) for split in released.FOLDERS}
            return {split: released.records(found) for split, found in pairs.items()}
        config = self.builder_config
        return {split: simulated.records(config, split) for split in config.sizes}

    def _generate_examples(self) -> Iterator[tuple[int, Record]]:
        raise NotImplementedError("each split has its own generator")
