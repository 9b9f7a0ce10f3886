"""Images in NPY and NPZ files."""

import math
import struct
import zipfile
from io import BytesIO
from typing import Any

import numpy as np

from distax.io.channels import one_channel
from distax.io.faults import translated
from distax.io.pixels import Decoded, Frame, Frames
from distax.io.reading import Reading
from distax.io.source import Source
from distax.io.stored import StoredImages
from distax.runtime.errors import DistaxError

_COLOURS = (1, 3, 4)
"""Lengths of a last axis that holds colours."""
_LONGEST_HEADER = 10_000
"""Longest header in bytes. NumPy has the same limit, but reads the header before it compares."""
_MOST_NAMED = 8
"""Number of arrays that a message names before it counts the rest."""


def open_npy(source: Source, reading: Reading) -> Frames:
    """Opens an NPY array without reading its pixels; see `_frames_of`.

    Raises:
      DistaxError: the header is damaged, promises more than the file holds, or describes no images.
    """
    where = source.path
    with translated(where, "NPY"):
        shape, fortran, dtype = read_npy_header(source.file)
        start = source.file.tell()
        _check_array(where, shape, dtype)
        _check_stored(where, math.prod(shape) * dtype.itemsize, source.size - start)
    stack = _stack_shape(shape)
    kind = _without_bool(dtype)
    images = StoredImages(source.file, where, start, kind, stack, fortran, reading)
    return _frames_of(images, stack, where, reading)


def open_npz(source: Source, reading: Reading) -> Frames:
    """Reads one array of an NPZ file; by default the first that has the shape of images.

    Raises:
      DistaxError: the file is damaged, unpacks to more than the limit, or has no such array.
    """
    with translated(source.path, "NPZ"), zipfile.ZipFile(source.file) as archive:
        members = {
            info.filename.removesuffix(".npy"): info
            for info in archive.infolist()
            if info.filename.endswith(".npy")
        }
        headers = {name: _member_header(archive, info) for name, info in members.items()}
        name = _choose(source, headers, reading.extension)
        where = f"{source.path}: array {name}"
        shape, fortran, dtype = headers[name]
        _check_array(where, shape, dtype)
        promised = math.prod(shape) * dtype.itemsize
        reading.check_size(where, promised, members[name].compress_size)
        with archive.open(members[name]) as member:
            read_npy_header(member)
            content = member.read(promised)
            member.read(1)  # the end of the member, where its checksum is compared
        _check_stored(where, promised, len(content))
        array = np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")
    stack = _stack_shape(shape)
    images = array.view(_without_bool(dtype)).reshape(stack)
    return _frames_of(images, stack, where, reading)


def parse_npy(content: bytes, where: object) -> np.ndarray:
    """Parses the content of a small NPY file: an array of numbers, of any shape.

    Raises:
      DistaxError: the content is damaged, or is not an array of numbers.
    """
    with translated(where, "NPY"):
        file = BytesIO(content)
        shape, fortran, dtype = read_npy_header(file)
        if dtype.kind not in "uifb":
            raise DistaxError(f"{where}: holds {dtype}, not numbers; save it as numbers")
        promised = math.prod(shape) * dtype.itemsize
        _check_stored(where, promised, len(content) - file.tell())
        array = np.frombuffer(file.read(promised), dtype)
        return array.reshape(shape, order="F" if fortran else "C")


def read_npy_header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Reads the header of an NPY array: shape, True for Fortran order, and type.

    Raises:
      ValueError: it is damaged, too long, or of a version for tables.
    """
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version} of the format, which is for tables")
    form = struct.Struct("<H" if version == (1, 0) else "<I")
    stated = file.read(form.size)
    (length,) = form.unpack(stated)
    if length > _LONGEST_HEADER:
        raise ValueError(f"a header of {length:,} bytes, at most {_LONGEST_HEADER:,} are read")
    header = BytesIO(stated + file.read(length))
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(header)
    return np.lib.format.read_array_header_2_0(header)


def _member_header(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo
) -> tuple[tuple[int, ...], bool, np.dtype]:
    with archive.open(info) as member:
        return read_npy_header(member)


def _choose(source: Source, headers: dict[str, Any], name: str | None) -> str:
    """Returns the name of the array to read. Default: the first with the shape of images."""
    arrays = [f"{key} {shape}" for key, (shape, _, _) in headers.items()]
    more = f" and {len(arrays) - _MOST_NAMED} more" if len(arrays) > _MOST_NAMED else ""
    held = (", ".join(arrays[:_MOST_NAMED]) or "no array") + more
    if name is not None:
        if name not in headers:
            raise DistaxError(f"{source.path}: no array {name!r}; it holds {held}")
        return name
    for key, (shape, _, dtype) in headers.items():
        if len(shape) in (2, 3, 4) and dtype.kind in "uifb":
            return key
    raise DistaxError(f"{source.path}: no array of images in it; it holds {held}")


def _check_stored(where: object, promised: int, stored: int) -> None:
    if promised > stored:
        raise DistaxError(
            f"{where}: its header promises {promised:,} bytes of pixels, but {stored:,} are there; "
            "the file is truncated or damaged"
        )


def _check_array(where: object, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Raises DistaxError for arrays that do not hold images of counts."""
    if dtype.kind not in "uifb" or dtype.itemsize > 8:
        raise DistaxError(f"{where}: holds {dtype}, not counts; store integers or floats")
    # A damaged header may hold a bool or a negative length.
    if not all(type(length) is int and length > 0 for length in shape) or not (
        len(shape) in (2, 3) or (len(shape) == 4 and shape[-1] in _COLOURS)
    ):
        raise DistaxError(
            f"{where}: an array of shape {shape}; give [height, width], [N, height, width], or "
            "these with a last axis of colours"
        )


def _stack_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the shape of an array with its axis of images, which one image may lack."""
    one = len(shape) == 2 or (len(shape) == 3 and shape[-1] in _COLOURS)
    return (1, *shape) if one else shape


def _without_bool(dtype: np.dtype) -> np.dtype:
    return np.dtype(np.uint8) if dtype.kind == "b" else dtype


def _frames_of(
    images: StoredImages | np.ndarray, shape: tuple[int, ...], where: object, reading: Reading
) -> Frames:
    """Makes the frames of an array of images.

    Args:
      images: the images by their number.
      shape: `[N, height, width]`, or these with a last axis of colours, of which a fourth is alpha.
      where: the file, for error messages.
      reading: settings of the reader.
    """
    if len(shape) == 3:
        return Frames(shape[0], lambda number: Frame(images[number]))
    has_alpha = shape[-1] == max(_COLOURS)

    def open_colours(number: int) -> Frame:
        plane = f"{where}: image {number}"

        def decode() -> np.ndarray:
            return one_channel(images[number][:], has_alpha, plane, reading)

        return Frame(Decoded((shape[1], shape[2]), decode))

    return Frames(shape[0], open_colours)
