"""The file format of an exported method: a zip archive with two members.

`about.json` describes the method, its input and its outputs. `program.bin` is the program, for
`jax.export.deserialize`. The archive's checksums reveal a damaged file.
"""

import json
import zlib
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile, ZipInfo

from distax.runtime.errors import DistaxError
from distax.runtime.files import atomic_write

PLATFORMS = ("cpu", "cuda", "tpu")
"""Platforms that a method can be exported for, by JAX's names."""

_FORMAT = "distax export 1"
_ABOUT, _PROGRAM = "about.json", "program.bin"


def write(path: Path, about: dict[str, Any], program: bytes) -> None:
    """Writes a file by an atomic write; equal contents make equal files.

    Args:
      path: the file.
      about: the description, plain values that JSON can hold.
      program: the serialised program.

    Raises:
      DistaxError: the file cannot be written.
    """
    description = json.dumps({"format": _FORMAT} | about, indent=2, ensure_ascii=False) + "\n"
    members = {_ABOUT: description.encode(), _PROGRAM: program}
    with atomic_write(path) as unfinished, ZipFile(unfinished, "w") as archive:
        for name, content in members.items():
            archive.writestr(ZipInfo(name), content, compress_type=ZIP_DEFLATED)


def read(path: Path) -> tuple[dict[str, Any], bytes]:
    """Reads the description and the program from a file that `write` wrote.

    Raises:
      DistaxError: there is no such file, it is damaged, it is not an exported method, or its format
        is of another version.
    """
    try:
        with ZipFile(path) as archive:
            about = json.loads(archive.read(_ABOUT))
            program = archive.read(_PROGRAM)
    except OSError as error:
        raise DistaxError(f"{path}: cannot be read ({error.strerror or error})") from error
    # The exception of a damaged member depends on the place of the damage.
    except (BadZipFile, EOFError, KeyError, NotImplementedError, ValueError, zlib.error) as error:
        raise DistaxError(f"{path}: not a whole file of `distax export` ({error})") from error
    found = about.get("format") if isinstance(about, dict) else None
    if found != _FORMAT:
        raise DistaxError(
            f"{path}: its format is {found!r}, this distax reads {_FORMAT!r}; export again"
        )
    return about, program
