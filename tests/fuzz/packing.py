"""Files that are taken apart, and put together with the checksums of their new parts.

A file with checksums is refused for them, whatever else is wrong with it. Where a part is changed
and the checksums are computed anew, the code behind them is reached.
"""

import bz2
import gzip
import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from distax.runtime.checksums import checksum_of_settings

_SIGNATURE = 8
"""Length of a PNG file's signature."""


@dataclass(frozen=True)
class Packing:
    """How the parts of a file are taken out and put in.

    Attributes:
      split: returns the parts of a file's content, unpacked.
      join: returns the content of a file like the given one with other parts.
    """

    split: Callable[[bytes], list[bytes]]
    join: Callable[[bytes, list[bytes]], bytes]


def _split_png(content: bytes) -> list[bytes]:
    """Returns the chunks, each with its type in front; pixels are unpacked."""
    chunks, place = [], _SIGNATURE
    while place < len(content):
        (length,) = struct.unpack_from(">I", content, place)
        kind, data = content[place + 4 : place + 8], content[place + 8 : place + 8 + length]
        chunks.append(kind + (zlib.decompress(data) if kind == b"IDAT" else data))
        place += 12 + length
    return chunks


def _join_png(content: bytes, parts: list[bytes]) -> bytes:
    result = content[:_SIGNATURE]
    for part in parts:
        kind, data = part[:4].ljust(4, b"a"), part[4:]
        data = zlib.compress(data) if kind == b"IDAT" else data
        result += struct.pack(">I", len(data)) + kind + data
        result += struct.pack(">I", zlib.crc32(kind + data))
    return result


def _split_zip(content: bytes) -> list[bytes]:
    with ZipFile(BytesIO(content)) as archive:
        return [archive.read(name) for name in archive.namelist()]


def _join_zip(content: bytes, parts: list[bytes]) -> bytes:
    with ZipFile(BytesIO(content)) as archive:
        names = archive.namelist()
    with ZipFile(result := BytesIO(), "w") as archive:
        for name, part in zip(names, parts, strict=True):
            archive.writestr(ZipInfo(name), part, ZIP_DEFLATED)
    return result.getvalue()


def _split_about(content: bytes) -> list[bytes]:
    """Returns the first member of a zip archive, which describes the others."""
    return _split_zip(content)[:1]


def _join_about(content: bytes, parts: list[bytes]) -> bytes:
    return _join_zip(content, [*parts, *_split_zip(content)[1:]])


def _split_stream(content: bytes) -> list[bytes]:
    return [(bz2 if content.startswith(b"BZh") else gzip).decompress(content)]


def _join_stream(content: bytes, parts: list[bytes]) -> bytes:
    return (bz2 if content.startswith(b"BZh") else gzip).compress(parts[0])


def _split_weights(content: bytes) -> list[bytes]:
    """Returns the description, the places of the arrays, and the arrays' bytes."""
    (length,) = struct.unpack_from("<Q", content)
    places = json.loads(content[8 : 8 + length])
    about = json.loads(places.pop("__metadata__")["distax"])
    return [json.dumps(about).encode(), json.dumps(places).encode(), content[8 + length :]]


def _join_weights(content: bytes, parts: list[bytes]) -> bytes:
    about, places, data = parts
    try:
        arrays = json.loads(places)
        sums = {
            name: zlib.crc32(data[slice(*place["data_offsets"])]) for name, place in arrays.items()
        }
        description = json.loads(about)
        description["checksums"] = sums
        settings = {key: description[key] for key in description if not key.startswith("checksum")}
        description["checksum"] = checksum_of_settings(settings)
        about = json.dumps(description).encode()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass  # what cannot be read has no checksums
    metadata = json.dumps({"distax": about.decode("latin-1")}).encode()
    comma = b"" if places == b"{}" else b", "
    header = b'{"__metadata__": ' + metadata + comma + places[1:]
    return struct.pack("<Q", len(header)) + header + data


def _join_settings(content: bytes, parts: list[bytes]) -> bytes:
    """Returns settings in JSON with their checksum, if they can be read."""
    try:
        settings = json.loads(parts[0])
        settings.pop("checksum")
        return json.dumps(settings | {"checksum": checksum_of_settings(settings)}).encode()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return parts[0]


PNG = Packing(_split_png, _join_png)
ABOUT = Packing(_split_about, _join_about)
ZIP = Packing(_split_zip, _join_zip)
STREAM = Packing(_split_stream, _join_stream)
WEIGHTS = Packing(_split_weights, _join_weights)
SETTINGS = Packing(lambda content: [content], _join_settings)
