"""The file of an exported method: a zip archive of two members.

`about.json` says what the method is, what it takes and what it returns; `program.bin` is what
`jax.export.deserialize` reads. The archive's checksums tell a damaged file.
"""

import json
import zlib
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile, ZipInfo

from distax.runtime.errors import DistaxError
from distax.runtime.files import atomic_write

PLATFORMS = ("cpu", "cuda", "tpu")
"""What a method can be exported for, as JAX names it."""

_FORMAT = "distax export 1"
_ABOUT, _PROGRAM = "about.json", "program.bin"


def write(path: Path, about: dict[str, Any], program: bytes) -> None:
    """Write a file whole or not at all; equal contents make equal files.

    Raises:
      DistaxError: the file cannot be written.
    """
    description = json.dumps({"format": _FORMAT} | about, indent=2, ensure_ascii=False) + "\n"
    members = {_ABOUT: description.encode(), _PROGRAM: program}
    with atomic_write(path) as unfinished, ZipFile(unfinished, "w") as archive:
        for name, content in members.items():
            archive.writestr(ZipInfo(name), content, compress_type=ZIP_DEFLATED)


def read(path: Path) -> tuple[dict[str, Any], bytes]:
    """The description and the program in a file that `write` wrote.

    Raises:
      DistaxError: there is no such file, it is damaged, something else, or of another format.
    """
    try:
        with ZipFile(path) as archive:
            about = json.loads(archive.read(_ABOUT))
            program = archive.read(_PROGRAM)
    except OSError as error:
        raise DistaxError(f"{path}: cannot be read ({error.strerror or error})") from error
    # What a damaged member raises depends on where the damage is.
    except (BadZipFile, EOFError, KeyError, NotImplementedError, ValueError, zlib.error) as error:
        raise DistaxError(f"{path}: not a whole file of `distax export` ({error})") from error
    found = about.get("format") if isinstance(about, dict) else None
    if found != _FORMAT:
        raise DistaxError(
            f"{path}: its format is {found!r}, this distax reads {_FORMAT!r}; export again"
        )
    return about, program
