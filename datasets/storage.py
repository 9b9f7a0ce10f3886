"""TFDS datasets on disk: building them in a folder, opening a split, reading it into arrays."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Float

from distax.imaging.targets import Targets
from distax.runtime.errors import DistaxError
from distax.runtime.optional import require

SPLITS = ("train", "validation", "test")
CHUNK = 1000

Record = dict[str, Any]
Folder = str | os.PathLike[str]


@dataclass(frozen=True)
class Dataset:
    """A dataset by its builder, and how to speak of it.

    Attributes:
      builder: its TFDS builder.
      title: its name in messages.
      prefix: what `distax build-dataset` wants before a configuration's name.
      get_config: the configuration that a name means, or the given one as TFDS wants it.
      record_to_example: pixels and truth of records stacked along leading axes.
    """

    builder: type[tfds.core.GeneratorBasedBuilder]
    title: str
    prefix: str
    get_config: Callable[[Any], tfds.core.BuilderConfig]
    record_to_example: Callable[[Record], tuple[np.ndarray, Targets]]

    def folder(self, config: str | tfds.core.BuilderConfig, data_dir: Folder) -> Path:
        """The folder in which TFDS keeps the configuration's files."""
        name = self.get_config(config).name
        data_dir = Path(data_dir).expanduser()
        return data_dir / self.builder.name / name / str(self.builder.VERSION)

    def build(
        self,
        config: str | tfds.core.BuilderConfig,
        data_dir: Folder,
        manual_dir: Folder | None = None,
    ) -> Path:
        """Builds the dataset unless it is there already, and checks that every split opens.

        A build that fails leaves nothing behind that could be taken for the dataset.

        Args:
          config: a configuration or its name.
          data_dir: where TFDS keeps its datasets; created if missing.
          manual_dir: the unpacked files, for a configuration that reads them.

        Returns:
          The folder the dataset is in.

        Raises:
          DistaxError: the configuration is unknown, the dataset cannot be written, or it is
            already there but damaged.
        """
        require("array_record", "datasets on disk")
        folder = self.folder(config, data_dir)
        if not folder.exists():
            self._prepare(self.get_config(config), Path(data_dir).expanduser(), manual_dir)
        for split in SPLITS:
            self.open_split(config, split, data_dir)
        return folder

    def _prepare(
        self, config: tfds.core.BuilderConfig, data_dir: Path, manual_dir: Folder | None
    ) -> None:
        """Lets TFDS write the dataset into a temporary folder and rename that when all is done."""
        try:
            # TFDS writes prose to the standard output, which belongs to the caller, and wants a
            # download folder even where it downloads nothing.
            with contextlib.redirect_stdout(sys.stderr), tempfile.TemporaryDirectory() as downloads:
                self.builder(config=config, data_dir=data_dir).download_and_prepare(
                    download_dir=downloads,
                    download_config=tfds.download.DownloadConfig(manual_dir=manual_dir),
                )
        except DistaxError:
            raise
        except Exception as error:  # TFDS raises whatever it meets
            reason = " ".join(str(error).split())
            raise DistaxError(f"cannot build {config.name} in {data_dir}: {reason}") from error

    def open_split(
        self, config: str | tfds.core.BuilderConfig, split: str, data_dir: Folder
    ) -> Sequence[Record]:
        """Random access to the records of a split; can be pickled, as grain's workers need.

        Args:
          config: a configuration or its name.
          split: `train`, `validation`, `test`, or TFDS's notation for a part such as
            `train[:1000]`.
          data_dir: the folder given to `build`.

        Raises:
          DistaxError: the configuration or the split is unknown, or the dataset is not built there
            or damaged.
        """
        require("array_record", "datasets on disk")
        config = self.get_config(config)
        data_dir = Path(data_dir).expanduser()
        folder = self.folder(config, data_dir)
        command = f"`distax build-dataset {self.prefix}{config.name} --data-dir {data_dir}`"
        if not folder.is_dir():
            raise DistaxError(
                f"{self.title} {config.name} is not built in {data_dir}: run {command}"
            )
        damaged = f"the dataset in {folder} is damaged: delete that folder and run {command}"
        try:
            builder = self.builder(config=config, data_dir=data_dir)
            known = ", ".join(builder.info.splits)
        except Exception as error:  # TFDS raises whatever its parsers meet
            raise DistaxError(damaged) from error
        if not known:
            raise DistaxError(damaged)
        try:
            source = builder.as_data_source(split)
        except Exception as error:
            raise DistaxError(f"unknown or empty split {split!r}: known are {known}") from error
        try:
            # The end first, because a file cut short has lost its end.
            _ = source[len(source) - 1], source[0]
        except Exception as error:
            raise DistaxError(damaged) from error
        return source

    def read_split(self, source: Sequence[Record]) -> tuple[Float[np.ndarray, "N ..."], Targets]:
        """All pixels and targets of a split.

        Args:
          source: as `open_split` returns it.

        Returns:
          Sensor counts as float32, records along the first axis, and Targets of NumPy arrays.

        Raises:
          DistaxError: a record cannot be read.
        """
        chunks = [_read(source, start) for start in range(0, len(source), CHUNK)]
        return self.record_to_example(
            {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}
        )


def _read(source: Any, start: int) -> Record:
    """Fields of up to `CHUNK` records, stacked."""
    stop = min(start + CHUNK, len(source))
    try:
        rows = source.__getitems__(range(start, stop))
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    except Exception as error:  # ArrayRecord raises whatever its reader meets
        raise DistaxError(
            f"records {start} to {stop - 1} of {source.split} in {source.dataset_info.data_dir} "
            "cannot be read: delete that folder and build the dataset again"
        ) from error
