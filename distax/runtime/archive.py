"""Zip archives that hold compiled or exported programs, and a description as JSON.

The archives' checksums reveal a damaged file.
"""

import lzma
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile, ZipInfo

from distax.runtime.errors import DistaxError
from distax.runtime.files import atomic_write, local_copy
from distax.runtime.plain_json import format_json, parse_json

_ABOUT = "about.json"


@dataclass(frozen=True)
class ArchiveFormat:
    """A kind of archive.

    Attributes:
      name: name and version, stored in the archive, such as "distax export 1".
      command: the command that writes it, for error messages.
      remedy: what to do about another version, for error messages.
    """

    name: str
    command: str
    remedy: str


def write_archive(
    path: Path, form: ArchiveFormat, about: Mapping[str, Any], members: Mapping[str, bytes]
) -> None:
    """Writes an archive atomically. Equal contents give equal files.

    Args:
      path: the file.
      form: the kind of archive.
      about: the description, plain values that JSON can hold.
      members: contents by their names in the archive.

    Raises:
      DistaxError: the file cannot be written.
    """
    description = format_json(path, {"format": form.name, **about}, indent=2) + "\n"
    with atomic_write(path) as unfinished, ZipFile(unfinished, "w") as archive:
        for name, content in {_ABOUT: description.encode(), **members}.items():
            archive.writestr(ZipInfo(name), content, compress_type=ZIP_DEFLATED)


def read_archive(
    path: Path, form: ArchiveFormat, required: str | None = None
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Reads the description and the members of an archive that `write_archive` wrote.

    Args:
      path: the file.
      form: the kind of archive.
      required: name of a member that must be there.

    Raises:
      DistaxError: there is no such file, or it is damaged, of another kind or of another version.
    """
    try:
        with local_copy(path) as local, ZipFile(local) as archive:
            about = parse_json(archive.read(_ABOUT))
            names = {*archive.namelist(), *filter(None, [required])} - {_ABOUT}
            members = {name: archive.read(name) for name in sorted(names)}
    except OSError as error:
        raise DistaxError(f"{path}: cannot be read ({error.strerror or error})") from error
    # The exception of a damaged member depends on the place of the damage.
    except (
        *(BadZipFile, EOFError, KeyError, RuntimeError, ValueError),
        *(zlib.error, lzma.LZMAError),
    ) as error:
        raise DistaxError(
            f"{path}: not a whole file of `{form.command}` ({error}); {form.remedy}"
        ) from error
    found = about.get("format") if isinstance(about, dict) else None
    if found != form.name:
        raise DistaxError(
            f"{path}: its format is {found!r}, this distax reads {form.name!r}; {form.remedy}"
        )
    return about, members
