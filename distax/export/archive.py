"""The file format of an exported method: a zip archive with two members.

`about.json` describes the method, its input and its outputs. `program.bin` is the program, for
`jax.export.deserialize`.
"""

from pathlib import Path
from typing import Any

from distax.runtime.archive import ArchiveFormat, read_archive, write_archive
from distax.runtime.errors import DistaxError

PLATFORMS = ("cpu", "cuda", "tpu")
"""Platforms that a method can be exported for, by JAX's names."""

_FORMAT = ArchiveFormat("distax export 1", "distax export", "export again")
_PROGRAM = "program.bin"


def write(path: Path, about: dict[str, Any], program: bytes) -> None:
    """Writes a file; see `runtime.archive.write_archive`.

    Args:
      path: the file.
      about: the description, plain values that JSON can hold.
      program: the serialised program.

    Raises:
      DistaxError: the file cannot be written.
    """
    write_archive(path, _FORMAT, about, {_PROGRAM: program})


def read(path: Path) -> tuple[dict[str, Any], bytes]:
    """Reads the description and the program from a file that `write` wrote.

    Raises:
      DistaxError: there is no such file, it is damaged, it is not an exported method, it holds more
        than one, or its format is of another version.
    """
    about, members = read_archive(path, _FORMAT, lambda _: [_PROGRAM])
    if _PROGRAM not in members:
        raise DistaxError(f"{path}: has no program; export again")
    return about, members[_PROGRAM]
