"""Answers as files hold them, and the checks by which a file is taken for a file of answers."""

import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from distax.runtime.checksums import checksum_of_settings
from distax.runtime.errors import DistaxError
from distax.runtime.plain_json import parse_table
from distax.shards.columns import IMAGE_COLUMNS, TARGET_COLUMNS, Columns

_ALWAYS = ("position", "intensity", "score")
"""Fields of `Targets` that every method computes."""


@dataclass(frozen=True)
class Stored:
    """Content of a file of answers.

    Attributes:
      about: description of the method, its settings and the shard.
      columns: the answers.
    """

    about: Mapping[str, Any]
    columns: Columns


def refusal(path: Path, problem: str) -> DistaxError:
    """Makes the error for a file that is not what unmix wrote."""
    return DistaxError(f"{path}: {problem}; delete it and run unmix again")


def parse_about(path: Path, text: bytes | None) -> dict[str, Any]:
    """Parses the description in a file of answers.

    Raises:
      DistaxError: there is none, or it is damaged.
    """
    if text is None:
        raise refusal(path, "has no description of a method, so it is no file of answers")
    try:
        return parse_table(text)
    except ValueError:
        raise refusal(path, "damaged (the description of its method is no JSON)") from None


def check_names(path: Path, names: Collection[str]) -> None:
    """Raises DistaxError if columns are missing that every file has, or that belong to others."""
    there = {owner for name, (owner, _) in TARGET_COLUMNS.items() if name in names}
    owners = there.union(_ALWAYS)
    needed = [name for name, (owner, _) in TARGET_COLUMNS.items() if owner in owners]
    for name in ("image", *needed):
        if name not in names:
            raise refusal(path, f"has no column {name}, so it is no whole file of answers")


def check_order(path: Path, images: Int[np.ndarray, " N"], first: int) -> None:
    """Raises DistaxError unless images are numbered in their order, from `first` on."""
    expected = np.arange(first, first + len(images))
    if (wrong := np.flatnonzero(images != expected)).size:
        place = int(wrong[0])
        raise refusal(
            path,
            f"image {images[place]} stands in the place of image {expected[place]}, so its rows "
            "are not as unmix wrote them",
        )


def joined(
    path: Path, lengths: Sequence[Mapping[str, Int[np.ndarray, " N"]]], parts: Sequence[Columns]
) -> Columns:
    """Joins the answers to consecutive images that a file holds, and checks them.

    Args:
      path: the file.
      lengths: for each part, numbers of values in the images by the names of columns of targets.
      parts: the parts.

    Raises:
      DistaxError: there are none, or no method gives such answers.
    """
    if not any(map(len, parts)):
        raise refusal(path, "holds no images")
    for part, numbers in zip(parts, lengths, strict=True):
        for name, length in numbers.items():
            if not np.array_equal(length, part.count):
                raise refusal(path, f"has lists of other lengths in the column {name} than in row")
    columns = Columns.joined(parts)
    for name in ("row", "column", "intensity"):
        if not np.isfinite(columns.of_targets[name]).all():
            raise refusal(path, f"has numbers that are NaN or infinite in the column {name}")
    if columns.count[list(columns.problems)].any():
        raise refusal(path, "has targets in an image that could not be unmixed")
    return columns


@dataclass
class Checksum:
    """CRC-32 of answers, which does not depend on the parts in which they are given.

    Attributes:
      sums: CRC-32 of what each column holds so far, by name.
      images: number of images so far.
    """

    sums: dict[str, int] = field(default_factory=dict)
    images: int = 0

    def add(self, columns: Columns) -> None:
        """Adds the answers to the images that follow."""
        self._add("count", columns.count.astype("<i8").tobytes())
        for name, values in columns.of_targets.items():
            self._add(name, values.astype("<f4").tobytes())
        for name, values in columns.of_images.items():
            kind = np.dtype(IMAGE_COLUMNS[name]).newbyteorder("<")
            self._add(name, values.astype(kind).tobytes())
        problems = sorted(columns.problems.items())
        self._add("problem", *(f"{self.images + at} {text}\n".encode() for at, text in problems))
        self.images += len(columns)

    def _add(self, name: str, *contents: bytes) -> None:
        self.sums.setdefault(name, 0)
        for content in contents:
            self.sums[name] = zlib.crc32(content, self.sums[name])

    @property
    def value(self) -> int:
        """The CRC-32 of the names and checksums of all columns."""
        return checksum_of_settings(self.sums)

    @classmethod
    def of(cls, parts: Iterable[Columns]) -> int:
        """Computes the CRC-32 of answers in parts."""
        checksum = cls()
        for part in parts:
            checksum.add(part)
        return checksum.value
