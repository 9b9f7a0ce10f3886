"""TFDS datasets on disk and in buckets: builds a dataset, opens a split and reads it into arrays.

TFDS and ArrayRecord read and write files on disk only. So a dataset for a bucket is built on disk
and then uploaded, and one in a bucket is downloaded, once in each process that reads it.
"""

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Float

from distax.imaging.targets import Targets
from distax.runtime.buckets import BucketPath, as_path
from distax.runtime.errors import DistaxError, first_line
from distax.runtime.files import check_place
from distax.runtime.locks import alone_in
from distax.runtime.optional import require
from distax.runtime.plain_json import read_table

SPLITS = ("train", "validation", "test")
CHUNK = 1000
"""Records read at once. More need more memory, fewer need more calls."""

Record = dict[str, Any]
Folder = str | os.PathLike[str]

_LAST = "dataset_info.json"
"""File of a dataset that is uploaded last: a dataset in a bucket is whole if it has this file."""


class ArrayRecordBuilder(
    tfds.core.GeneratorBasedBuilder,
    skip_registration=True,  # type: ignore[call-arg]
):
    """A builder that stores records as ArrayRecord in the order of their ids.

    ArrayRecord needs no TensorFlow.

    Attributes:
      HOMEPAGE: address of the dataset's description.
    """

    HOMEPAGE: ClassVar[str]
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
        super().__init__(config=self.resolve_config(config), file_format=file_format, **options)

    @staticmethod
    def resolve_config(config: Any) -> tfds.core.BuilderConfig:
        """Returns a configuration by its name, or the given configuration as TFDS expects it."""
        raise NotImplementedError

    @staticmethod
    def record_features() -> tfds.features.FeaturesDict:
        """Returns TFDS's description of a record."""
        raise NotImplementedError

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=self.record_features(),
            disable_shuffling=True,
            homepage=self.HOMEPAGE,
        )


@dataclass(eq=False, kw_only=True)
class ReleasedConfig(tfds.core.BuilderConfig):
    """The published images and annotations, read from TFDS's `manual_dir`."""

    name: str = field(init=False, default="released")


@dataclass(frozen=True)
class Dataset:
    """A dataset on disk.

    Attributes:
      builder: its TFDS builder.
      title: its name in messages.
      prefix: prefix of a configuration's name in `distax build-dataset`.
      get_config: function that returns a configuration by its name, or the given configuration as
        TFDS expects it.
      record_to_example: function from records stacked along leading axes to pixels and truth.
      check_manual_dir: function that raises DistaxError if a manual directory is not given or holds
        no published files.
    """

    builder: type[tfds.core.GeneratorBasedBuilder]
    title: str
    prefix: str
    get_config: Callable[[Any], tfds.core.BuilderConfig]
    record_to_example: Callable[[Record], tuple[np.ndarray, Targets]]
    check_manual_dir: Callable[[Folder | None], None]

    def folder(self, config: str | tfds.core.BuilderConfig, data_dir: Folder) -> Path:
        """Returns the folder with the configuration's files."""
        name = self.get_config(config).name
        data_dir = as_path(data_dir).expanduser()
        return data_dir / self.builder.name / name / str(self.builder.VERSION)

    def build(
        self,
        config: str | tfds.core.BuilderConfig,
        data_dir: Folder,
        manual_dir: Folder | None = None,
    ) -> Path:
        """Builds the dataset unless it exists, and checks that every split opens.

        A build that fails leaves no dataset behind.

        Args:
          config: a configuration or its name.
          data_dir: folder of TFDS's datasets, on disk or in a bucket; created if missing.
          manual_dir: folder of the unpacked files, for a configuration that reads them.

        Returns:
          The dataset's folder.

        Raises:
          DistaxError: the configuration is unknown, the published files are missing or unusable,
            the dataset cannot be written, or the existing dataset is damaged.
        """
        require("array_record", "datasets on disk")
        folder = self.folder(config, data_dir)
        if not is_there(folder):
            if isinstance(self.get_config(config), ReleasedConfig):
                self.check_manual_dir(manual_dir)
            self._prepare(self.get_config(config), as_path(data_dir).expanduser(), manual_dir)
        for split in SPLITS:
            self.open_split(config, split, data_dir)
        return folder

    def _prepare(
        self, config: tfds.core.BuilderConfig, data_dir: Path, manual_dir: Folder | None
    ) -> None:
        """Writes the dataset with TFDS, to a temporary folder that TFDS renames at the end.

        One process at a time does so. The temporary folders of processes that died are deleted.
        """
        if isinstance(data_dir, BucketPath):
            check_place(data_dir)
            with tempfile.TemporaryDirectory() as temporary:
                self._prepare(config, Path(temporary), manual_dir)
                _upload(self.folder(config, temporary), self.folder(config, data_dir))
            return
        folder = self.folder(config, data_dir)
        if folder.exists() and not folder.is_dir():
            raise DistaxError(f"{folder}: is no folder, as a dataset must be; move it away")
        with alone_in(folder.parent, "builds this dataset"):
            # The names that TFDS gives them, now and before.
            for pattern in (f"incomplete.*_{folder.name}", f"{folder.name}.incomplete*"):
                for abandoned in folder.parent.glob(pattern):
                    shutil.rmtree(abandoned, ignore_errors=True)
            self._write(config, data_dir, manual_dir)

    def _write(
        self, config: tfds.core.BuilderConfig, data_dir: Path, manual_dir: Folder | None
    ) -> None:
        """Writes the dataset with TFDS, whose exceptions become one line."""
        try:
            # TFDS writes messages to standard output, which belongs to the caller, and requires a
            # download folder even if it downloads nothing.
            with contextlib.redirect_stdout(sys.stderr), tempfile.TemporaryDirectory() as downloads:
                self.builder(config=config, data_dir=data_dir).download_and_prepare(
                    download_dir=downloads,
                    download_config=tfds.download.DownloadConfig(manual_dir=manual_dir),
                )
        except DistaxError:
            raise
        except Exception as error:  # TFDS passes on exceptions of all types
            reason = " ".join(str(error).split())
            raise DistaxError(f"cannot build {config.name} in {data_dir}: {reason}") from error

    def open_split(
        self, config: str | tfds.core.BuilderConfig, split: str, data_dir: Folder
    ) -> Sequence[Record]:
        """Opens a split for random access to its records.

        The returned source can be pickled, as grain's workers need.

        Args:
          config: a configuration or its name.
          split: `train`, `validation`, `test`, or a part in TFDS's notation, such as
            `train[:1000]`.
          data_dir: the folder given to `build`.

        Raises:
          DistaxError: the configuration or the split is unknown, or the dataset is not built or
            damaged.
        """
        require("array_record", "datasets on disk")
        config = self.get_config(config)
        data_dir = as_path(data_dir).expanduser()
        folder = self.folder(config, data_dir)
        command = f"`distax build-dataset {self.prefix}{config.name} --data-dir {data_dir}`"
        if not is_there(folder):
            raise DistaxError(
                f"{self.title} {config.name} is not built in {data_dir}: run {command}"
            )

        def damaged(reason: str = "") -> DistaxError:
            return DistaxError(
                f"the dataset in {folder} is damaged{reason}: delete that folder and run {command}"
            )

        if isinstance(folder, BucketPath):
            data_dir = Path(_download(folder, folder.relative_to(data_dir)).name)
        try:
            builder = self.builder(config=config, data_dir=data_dir)
            _check_info(builder, config.name)
        except ValueError as error:
            raise damaged(f" ({first_line(error)})") from error
        except Exception as error:  # TFDS passes on its parsers' exceptions
            raise damaged() from error
        known = ", ".join(builder.info.splits)
        try:
            source = builder.as_data_source(split)
        except Exception as error:
            raise DistaxError(f"unknown or empty split {split!r}: known are {known}") from error
        try:
            # The last record first: a truncated file has lost it.
            _ = source[len(source) - 1], source[0]
        except Exception as error:
            raise damaged() from error
        return source

    def read_split(self, source: Sequence[Record]) -> tuple[Float[np.ndarray, "N ..."], Targets]:
        """Reads all pixels and targets of a split.

        Args:
          source: the split's records, from `open_split`.

        Returns:
          Pixels in counts as float32, records along the first axis, and Targets of NumPy arrays.

        Raises:
          DistaxError: a record cannot be read, or its truth cannot be; see `truth.read_truth`.
        """
        return self.read_rows(source, 0, len(source))

    def read_rows(
        self, source: Sequence[Record], start: int, stop: int
    ) -> tuple[Float[np.ndarray, "N ..."], Targets]:
        """Reads the pixels and targets of the records from `start` to `stop`, as `read_split`."""
        starts = range(start, stop, CHUNK)
        chunks = [_read_chunk(source, first, min(first + CHUNK, stop)) for first in starts]
        return self.record_to_example(
            {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}
        )


def _check_info(builder: Any, name: str) -> None:
    """Compares a dataset's description with its files.

    Args:
      builder: the builder that has read the description.
      name: name of the configuration.

    Raises:
      ValueError: the description is of another configuration, a split has files of another one, or
        a file holds another number of records.
    """
    from array_record.python.array_record_module import ArrayRecordReader

    stated = read_table(Path(builder.data_dir, _LAST)).get("configName")
    if stated != name or not builder.info.splits:
        raise ValueError(f"describes {stated} with the splits {list(builder.info.splits)}")
    for split, info in builder.info.splits.items():
        for path, length in zip(info.filepaths, info.shard_lengths, strict=True):
            if not path.name.startswith(f"{builder.name}-{split}."):
                raise ValueError(f"{split} has the file {path.name}")
            with contextlib.closing(ArrayRecordReader(str(path))) as reader:
                if reader.num_records() != length:
                    raise ValueError(f"{path.name} holds {reader.num_records()} records")


def is_there(folder: Path) -> bool:
    """Returns True if there is a dataset in a folder."""
    if not isinstance(folder, BucketPath):
        return folder.is_dir()
    folder.check()
    return (folder / _LAST).is_file()


def _upload(local: Path, folder: Path) -> None:
    """Copies a dataset to a bucket, so that it is there as a whole or not at all.

    Raises:
      DistaxError: a file cannot be written.
    """
    try:
        for path in sorted(local.iterdir(), key=lambda path: path.name == _LAST):
            (folder / path.name).write_bytes(path.read_bytes())
    except OSError as error:
        raise DistaxError(f"{folder}: cannot be written ({error.strerror or error})") from error


@cache
def _download(folder: BucketPath, name: Path) -> "tempfile.TemporaryDirectory[str]":
    """Copies a dataset from a bucket to a folder `name` of a temporary one.

    That is deleted when the process ends.

    Raises:
      DistaxError: a file cannot be read.
    """
    temporary = tempfile.TemporaryDirectory()
    local = Path(temporary.name, *name.parts)
    local.mkdir(parents=True)
    try:
        for path in folder.iterdir():
            path.download(local / path.name)
    except OSError as error:
        raise DistaxError(f"{folder}: cannot be read ({error.strerror or error})") from error
    return temporary


def _read_chunk(source: Any, start: int, stop: int) -> Record:
    """Reads records and stacks each of their fields."""
    try:
        rows = source.__getitems__(range(start, stop))
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    except Exception as error:  # ArrayRecord passes on exceptions of all types
        raise DistaxError(
            f"records {start} to {stop - 1} of {source.split} in {source.dataset_info.data_dir} "
            "cannot be read: delete that folder and build the dataset again"
        ) from error
