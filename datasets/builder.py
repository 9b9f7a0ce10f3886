"""What the TFDS builders share."""

from collections.abc import Callable
from typing import Any, ClassVar

import tensorflow_datasets as tfds


class ArrayRecordBuilder(
    tfds.core.GeneratorBasedBuilder,
    skip_registration=True,  # type: ignore[call-arg]
):
    """Records in the order of their ids, as ArrayRecord, which needs no TensorFlow.

    Attributes:
      HOMEPAGE: where the dataset is described.
      FEATURES: makes TFDS's description of a record.
      CONFIG: the configuration that a name means, or the given one as TFDS wants it.
    """

    HOMEPAGE: ClassVar[str]
    FEATURES: ClassVar[Callable[[], tfds.features.FeaturesDict]]
    CONFIG: ClassVar[Callable[[Any], tfds.core.BuilderConfig]]
    # TFDS looks here for checksums of downloads, of which there are none, and its search needs a
    # package it does not install (github.com/tensorflow/datasets/issues/11212).
    code_path = None

    def __init__(
        self,
        *,
        config: str | tfds.core.BuilderConfig = "simulated",
        file_format: str = "array_record",
        **options: Any,
    ) -> None:
        super().__init__(config=type(self).CONFIG(config), file_format=file_format, **options)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=type(self).FEATURES(),
            disable_shuffling=True,
            homepage=self.HOMEPAGE,
        )
