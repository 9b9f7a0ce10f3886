"""Files of results: one for each shard, as Parquet or as ArrayRecord, written whole or not at all.

All formats hold a row or record for each image, in the order of the images. It has `image`, the
image's number in the shard, the columns of the module `columns`, and `problem`, the reason why the
image could not be unmixed.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from distax.imaging.targets import Targets
from distax.runtime.errors import DistaxError
from distax.shards.columns import Columns
from distax.shards.parquet import Parquet
from distax.shards.record_results import ArrayRecord
from distax.shards.stored import Stored


@runtime_checkable
class Format(Protocol):
    """A format of results.

    Attributes:
      suffix: suffix of its files.
    """

    suffix: str

    def check(self) -> None:
        """Raises DistaxError if the package that writes the format is missing."""

    def writing(
        self, path: Path, about: Mapping[str, Any]
    ) -> AbstractContextManager[Callable[[Columns], None]]:
        """Opens a file for an atomic write, and yields a function that appends images.

        Args:
          path: the file.
          about: description of the method, its settings and the shard, stored with the results.

        Raises:
          DistaxError: the file cannot be written.
        """

    def read(self, path: Path) -> Stored:
        """Reads a file of one image at least.

        Raises:
          DistaxError: it is damaged, or is no file of answers as `writing` writes it.
        """

    def about(self, path: Path) -> Mapping[str, Any]:
        """Reads the description in a file; raises DistaxError if there is none."""


FORMATS: dict[str, Format] = {"parquet": Parquet(), "array_record": ArrayRecord()}
"""The formats of results, by name."""


def read_results(folder: str | os.PathLike[str]) -> Iterator[tuple[str, Targets]]:
    """Reads the results that `distax unmix --output` wrote, one shard after the other.

    Args:
      folder: the folder of results.

    Yields:
      The name of a shard without its suffix, and the targets `[N, K]` in its N images. Padding is
      zero. An image that could not be unmixed has no targets, and is not trusted.

    Raises:
      DistaxError: there are no results; a file is damaged, or is not as unmix wrote it.
    """
    files = find_results(folder)
    if not files:
        raise DistaxError(f"{folder}: holds no results of unmix --output")
    for path, file_format in files.items():
        yield path.stem, file_format.read(path).columns.targets()


def find_results(folder: str | os.PathLike[str]) -> dict[Path, Format]:
    """Lists the files of results in a folder by name, each with its format."""
    by_suffix = {known.suffix: known for known in FORMATS.values()}
    files = sorted(Path(folder).glob("[!.]*"))
    return {path: by_suffix[path.suffix] for path in files if path.suffix in by_suffix}
