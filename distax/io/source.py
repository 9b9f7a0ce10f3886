"""Opening of files: their format by the first bytes, and unpacking of gzip, bzip2 and xz."""

import bz2
import gzip
import lzma
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple

from distax.io.faults import translated
from distax.io.reading import Reading
from distax.runtime.errors import DistaxError, DistaxWarning
from distax.runtime.files import local_copy

_SIGNATURES = (
    (b"SIMPLE  =", "FITS"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\x93NUMPY", "NPY"),
    (b"PK\x03\x04", "NPZ"),
    (b"PK\x05\x06", "NPZ"),
    (b"\xff\xd8\xff", "JPEG"),
)
"""Formats that are read, by the bytes that their files begin with; BMP is recognised apart."""
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)
"""Sizes of BMP headers. They tell BMP files from texts that begin with "BM"."""
_VIDEO = (
    "a video ({}), which is not read; convert it to images, for example by "
    "ffmpeg -i VIDEO -pix_fmt gray FOLDER/%06d.png, and name the folder"
)
_REFUSED = (
    (4, b"ftyp", _VIDEO.format("MP4 or MOV")),
    (8, b"AVI ", _VIDEO.format("AVI")),
    (0, b"\x1aE\xdf\xa3", _VIDEO.format("Matroska or WebM")),
    (0, b"LUCAM-RECORDER", _VIDEO.format("SER")),
    (0, b"GIF8", "a GIF, which is not read; save its frames as PNG or TIFF"),
    (0, b"\x89HDF", "an HDF5 file, which is not read; save its array as NPY or TIFF"),
    (8, b"WEBP", "a WebP image, which is not read; save it as PNG or TIFF"),
    (0, b"P5", "a PGM image, which is not read; save it as PNG or TIFF"),
)
"""Formats that are not read, by an offset and the bytes there, with advice."""


class _Packing(NamedTuple):
    """A packed format: its name and suffix, and the function that opens its files."""

    name: str
    suffix: str
    open: Callable[[Any], Any]


_PACKED = {
    b"\x1f\x8b": _Packing("gzip", ".gz", gzip.open),
    b"BZh": _Packing("bzip2", ".bz2", bz2.open),
    b"\xfd7zXZ\0": _Packing("xz", ".xz", lzma.open),
}
"""Packed formats by their first bytes."""
PACKED_SUFFIXES = tuple(packing.suffix for packing in _PACKED.values())
"""Suffixes of packed files, which follow that of the format."""

SUFFIXES = {
    **dict.fromkeys((".fits", ".fit", ".fts", ".fz"), "FITS"),
    ".png": "PNG",
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    ".npy": "NPY",
    ".npz": "NPZ",
    ".bmp": "BMP",
    **dict.fromkeys((".jpg", ".jpeg"), "JPEG"),
}
"""Formats by the suffixes that promise them."""
FORMATS = "FITS, PNG, TIFF, BMP, JPEG, NPY or NPZ"
"""Names of all formats that are read, for messages."""
_CHUNK = 2**20


@dataclass(frozen=True)
class Source:
    """A file that is open for reading, unpacked.

    Attributes:
      path: path of the file, as given.
      file: its bytes, positioned at the first.
      size: number of bytes.
      kind: format by its first bytes, one of the values of `SUFFIXES`.
    """

    path: Path
    file: BufferedReader
    size: int
    kind: str


@contextmanager
def open_source(path: Path, reading: Reading) -> Iterator[Source]:
    """Opens a file and recognises its format by its first bytes.

    Packed files are unpacked to a temporary file.

    Raises:
      DistaxError: the file does not exist, is no regular file, is damaged, unpacks to more than the
        limit, or has a format that is not read.
    """
    with ExitStack() as stack:
        with translated(path, "packed"):
            if path.is_dir():
                raise DistaxError(f"{path}: is a folder, but a file is needed here")
            if os.path.islink(path) and not path.exists():
                raise DistaxError(
                    f"{path}: cannot be read, as this link leads to no file; restore the file, or "
                    "remove the link"
                )
            local = stack.enter_context(local_copy(path))
            file: BufferedReader = stack.enter_context(local.open("rb"))
            packing = next((p for head, p in _PACKED.items() if _starts(file, head)), None)
            if packing:
                file = _unpack(stack, path, packing.open(file), reading)
            size = file.seek(0, 2)
            file.seek(0)
            head = file.read(64)
            file.seek(0)
        kind = _recognise(path, head)
        _warn_of_name(path, kind, packing)
        yield Source(path, file, size, kind)


def _starts(file: BufferedReader, head: bytes) -> bool:
    file.seek(0)
    start = file.read(len(head))
    file.seek(0)
    return start == head


def _unpack(stack: ExitStack, path: Path, stream: Any, reading: Reading) -> BufferedReader:
    """Unpacks a stream to a temporary file, as far as the limit allows."""
    with stream, tempfile.TemporaryFile() as copy:
        while chunk := stream.read(_CHUNK):
            reading.check_size(path, copy.tell() + len(chunk))
            copy.write(chunk)
        copy.flush()
        # Opened anew, because astropy takes a writable file for one to change.
        file = stack.enter_context(os.fdopen(os.dup(copy.fileno()), "rb"))
    file.seek(0)
    return file


def _recognise(path: Path, head: bytes) -> str:
    """Returns the format of a file by its first bytes."""
    if not head:
        raise DistaxError(f"{path}: the file is empty")
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            return kind
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    for offset, signature, advice in _REFUSED:
        if head[offset:].startswith(signature):
            raise DistaxError(f"{path}: {advice}")
    promised = SUFFIXES.get(_promising_suffix(path))
    problem = f"a damaged {promised} file, or none of" if promised else "by its first bytes none of"
    raise DistaxError(f"{path}: {problem} {FORMATS}; copy it again, or convert it to one of these")


def _promising_suffix(path: Path) -> str:
    """Returns the suffix that tells the format, without that of a packed file."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in PACKED_SUFFIXES:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def is_image_name(path: Path) -> bool:
    """Returns True if a file's name promises one of the formats that are read."""
    return _promising_suffix(path) in SUFFIXES


def _warn_of_name(path: Path, kind: str, packing: _Packing | None) -> None:
    """Warns of a file whose name promises another format."""
    promised = SUFFIXES.get(_promising_suffix(path), kind)
    told = [promised] if promised != kind else []
    suffix = path.suffix.lower()
    if suffix in PACKED_SUFFIXES and (packing is None or packing.suffix != suffix):
        told.append(suffix)
    if told:
        content = f"{kind} packed by {packing.name}" if packing else kind
        warnings.warn(
            f"{path}: its name promises {' and '.join(told)}, but its content is {content}; read "
            "as that",
            DistaxWarning,
            stacklevel=2,
        )
