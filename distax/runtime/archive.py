"""Zip archives that hold compiled or exported programs, and a description as JSON.

The archives' checksums reveal a damaged file.
"""

import lzma
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile, ZipInfo

from distax.runtime.errors import DistaxError, shown
from distax.runtime.files import atomic_write, local_copy
from distax.runtime.plain_json import format_json, parse_json

_ABOUT = "about.json"
_FREE, _LARGEST_RATIO = 2**24, 100
"""Bytes that anything may unpack to, and largest ratio of the unpacked bytes beyond them to the
stored ones. Deflate reaches 1,032 for zeros. Weights, which large programs hold too, hardly pack at
all."""


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
    path: Path, form: ArchiveFormat, names: Callable[[dict[str, Any]], Iterable[str]]
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Reads the description and the members of an archive that `write_archive` wrote.

    Nothing is unpacked before the sizes that the archive states are checked, and nothing beyond
    them.

    Args:
      path: the file.
      form: the kind of archive.
      names: function that returns the names of the members that a description tells of. It may
        raise DistaxError.

    Raises:
      DistaxError: there is no such file; it is damaged, of another kind or of another version; a
        member is unknown, there twice, or larger than its stored bytes can be.
    """
    try:
        with local_copy(path) as local, ZipFile(local) as archive:
            about = parse_json(_unpack(archive, _ABOUT))
            _check_format(path, form, about)
            members = archive.namelist()
            members.remove(_ABOUT)
            if len({*members}) < len(members) or _ABOUT in members:
                raise ValueError("it holds a member twice")
            if unknown := {*members} - {*names(about)}:
                raise ValueError(f"it also holds {shown(min(unknown))}")
            return about, {name: _unpack(archive, name) for name in sorted(members)}
    except DistaxError:
        raise
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


def most_unpacked(stored: int) -> int:
    """Returns the most bytes that a number of stored ones may unpack to."""
    return _FREE + _LARGEST_RATIO * stored


def _unpack(archive: ZipFile, name: str) -> bytes:
    """Unpacks a member, after a look at the sizes that the archive states."""
    member = archive.getinfo(name)
    # A damaged archive may state more stored bytes than there are before its list of members.
    stored = min(member.compress_size, archive.start_dir)
    if member.file_size > most_unpacked(stored):
        raise ValueError(f"{name} is to unpack to {member.file_size:,} bytes from {stored:,}")
    # A member is read no further than its stated size.
    return archive.read(member)


def _check_format(path: Path, form: ArchiveFormat, about: Any) -> None:
    found = about.get("format") if isinstance(about, dict) else None
    if found != form.name:
        raise DistaxError(
            f"{path}: its format is {shown(found)}, this distax reads {form.name!r}; {form.remedy}"
        )
