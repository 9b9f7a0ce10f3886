"""Checksums of stored arrays, settings and files, which reveal damage by disks and transfers."""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from etils import epath

from distax.runtime.errors import DistaxError, shown
from distax.runtime.files import write_text
from distax.runtime.plain_json import read_table
from distax.runtime.pytree import named_leaves
from distax.runtime.unfinished import is_unfinished

_FILE = "checksums.json"
"""Name of the file with the checksums of the other files in its folder."""
_READ_AT_ONCE = 2**20
"""Bytes of a file that are in memory while its checksum is computed."""


def checksums(tree: Any) -> dict[str, int]:
    """Computes the CRC-32 of each array's bytes, by the arrays' names.

    With several processes all must call it, because each may hold only a part of an array.
    """
    return {name: zlib.crc32(_whole(leaf).tobytes()) for name, leaf in named_leaves(tree).items()}


def checksum_of_settings(settings: Mapping[str, Any]) -> int:
    """Computes the CRC-32 of values that JSON can hold."""
    return zlib.crc32(json.dumps(settings, sort_keys=True).encode())


def check_version(where: object, what: str, version: object, newest: int) -> None:
    """Raises DistaxError unless a stored version is one that this distax reads, from 1 on.

    Args:
      where: the file or folder, for the error message.
      what: its content, for the error message.
      version: the version that is stored in it.
      newest: the newest version that this distax reads.
    """
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise DistaxError(
            f"{where}: {shown(version)} is no version of {what}, so it is damaged; use another copy"
        )
    if version > newest:
        raise DistaxError(
            f"{where}: version {shown(version)} of {what}, this distax reads {newest}; install a "
            "newer distax"
        )


def write_file_checksums(folder: Path) -> None:
    """Writes the CRC-32 of every file in a folder on disk to a file in it, atomically."""
    sums = {str(path.relative_to(folder)): file_checksum(path) for path in _files(folder)}
    write_text(folder / _FILE, json.dumps(sums, indent=1) + "\n")


def add_file_checksums(folder: Path) -> None:
    """Writes checksums as `write_file_checksums` does, unless the folder has them."""
    if not (folder / _FILE).exists():
        write_file_checksums(folder)


def find_damaged_file(folder: Path) -> str | None:
    """Returns the first file of a folder that is missing or differs from its checksum.

    Returns None if there is no such file, or if the folder has no checksums.
    """
    try:
        sums = read_table(folder / _FILE)
    except FileNotFoundError:
        return None
    except ValueError:
        return _FILE
    there = {str(path.relative_to(folder)): path for path in _files(folder)}
    for name, checksum in sums.items():
        if name not in there or file_checksum(there[name]) != checksum:
            return str(name)
    return None


def _files(folder: Path) -> list[Path]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != _FILE)
    return sorted(path for path in files if not is_unfinished(path))


def file_checksum(path: Path | epath.Path) -> int:
    """Computes the CRC-32 of a file, some of it at a time."""
    checksum = 0
    with path.open("rb") as file:
        while part := file.read(_READ_AT_ONCE):
            checksum = zlib.crc32(part, checksum)
    return checksum


def check_arrays_intact(where: str, stored: Mapping[str, int] | None, tree: Any) -> None:
    """Compares the arrays of a tree with their checksums from the time of writing.

    Args:
      where: the file or folder, for error messages.
      stored: checksums by name; None for a file of the first releases, which had none.
      tree: the arrays that were read.

    Raises:
      DistaxError: an array differs from what was written.
    """
    if stored is None:
        return
    for name, checksum in checksums(tree).items():
        if stored.get(name) != checksum:
            raise DistaxError(
                f"{where}: array {name} is damaged, its bytes differ from their checksum; use "
                "another copy"
            )


def check_finite_arrays(where: str, tree: Any) -> None:
    """Raises DistaxError if an array of a tree has numbers that are NaN or infinite."""
    for name, leaf in named_leaves(tree).items():
        array = _whole(leaf)
        if not np.all(np.isfinite(array)):
            raise DistaxError(
                f"{where}: array {name} has NaN or infinite numbers; use weights of a training "
                "that did not fail"
            )


def _whole(leaf: Any) -> np.ndarray:
    """Returns all of an array, also if other processes hold parts of it."""
    if isinstance(leaf, jax.Array) and not (leaf.is_fully_addressable or leaf.is_fully_replicated):
        from jax.experimental.multihost_utils import process_allgather

        leaf = process_allgather(leaf, tiled=True)
    return np.asarray(leaf)
