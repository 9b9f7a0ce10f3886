"""Reads the published files: `<split>/cso_img/image_<id>.png`, `<split>/Annotations/CSO<id>.xml`.

The files come from the internet, so both formats are read strictly.
"""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from jaxtyping import Float, UInt8

from distax.datasets.csist100k.record import IMAGE_SHAPE, MAX_TARGETS, make_record
from distax.datasets.storage import Record
from distax.runtime.errors import DistaxError, unknown
from distax.runtime.optional import require

SPLIT_FOLDERS = {"train": "train", "validation": "val", "test": "test"}

# An id of at most 18 digits fits 64 bits.
IMAGE_NAME = re.compile(r"image_(\d{1,18})\.png")
ANNOTATION_NAME = re.compile(r"(?:CSO|COS)(\d{1,18})\.xml")


class AnnotatedImage(NamedTuple):
    """An image's id and its two files."""

    identifier: int
    image: Path
    annotation: Path


def find_pairs(root: Path, split: str) -> list[AnnotatedImage]:
    """Finds the images of a split and their annotations, in ascending order of their ids.

    Args:
      root: folder that holds train/, val/ and test/.
      split: train, validation or test.

    Raises:
      DistaxError: the split is unknown, its folders are missing or empty, a file's name has another
        form, two files have the same id, or an image or an annotation lacks its counterpart.
    """
    if split not in SPLIT_FOLDERS:
        raise unknown("split", split, SPLIT_FOLDERS)
    folder = root / SPLIT_FOLDERS[split]
    images = _find_files(folder / "cso_img", ".png", IMAGE_NAME)
    annotations = _find_files(folder / "Annotations", ".xml", ANNOTATION_NAME)
    for identifier in sorted(images.keys() ^ annotations.keys()):
        if identifier in images:
            raise DistaxError(
                f"{images[identifier]} has no annotation CSO{identifier}.xml in "
                f"{folder / 'Annotations'}: unpack the dataset again, or remove the image"
            )
        raise DistaxError(
            f"{annotations[identifier]} has no image image_{identifier}.png in "
            f"{folder / 'cso_img'}: unpack the dataset again, or remove the annotation"
        )
    return [AnnotatedImage(key, images[key], annotations[key]) for key in sorted(images)]


def read_records(pairs: list[AnnotatedImage]) -> Iterator[tuple[int, Record]]:
    """Reads the keys and records of the pairs, in their order.

    Raises:
      DistaxError: a file is unusable; see `read_png` and `read_annotation`.
    """
    for pair in pairs:
        position, intensity = read_annotation(pair.annotation)
        image = read_png(pair.image, IMAGE_SHAPE)
        yield pair.identifier, make_record(pair.identifier, image, position, intensity)


def read_png(path: Path, shape: tuple[int, int]) -> UInt8[np.ndarray, "height width"]:
    """Reads an 8-bit grey PNG of a given height and width.

    Raises:
      DistaxError: the file is truncated, damaged, not a PNG or not 8-bit grey, or has another
        size; or the package pillow is not installed.
      OSError: the file cannot be read at all.
    """
    require("PIL", "CSIST-100K's images")
    from PIL import Image

    content = path.read_bytes()
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            mode, size = image.mode, image.size
            image.verify()  # checksums, which decoding ignores
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            pixels = np.array(image) if (mode, size) == ("L", shape[::-1]) else None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DistaxError(f"{path} is a damaged PNG: unpack the dataset again") from error
    if pixels is None:
        raise DistaxError(
            f"{path} is a PNG of mode {mode} and {size[1]}×{size[0]} pixels, expected 8-bit grey "
            f"(mode L) of {shape[0]}×{shape[1]}: use the published images, not converted ones"
        )
    return pixels


def read_annotation(
    path: Path,
) -> tuple[Float[np.ndarray, "targets 2"], Float[np.ndarray, " targets"]]:
    """Reads positions (row, column in pixels) and intensities (counts) of an image's targets.

    The expected layout is `annotation/object/coordinate/{xc, yc, brightness}`, with one object for
    each target. In these files `xc` is the row.

    Raises:
      DistaxError: the file is not XML, declares entities or a document type, has another layout,
        no targets or too many, a value that is not a finite number, a brightness that is not
        positive, or a target outside the image; or the package defusedxml is not installed.
      OSError: the file cannot be read at all.
    """
    require("defusedxml", "CSIST-100K's annotations")
    import defusedxml
    from defusedxml import ElementTree

    content = path.read_bytes()
    try:
        root = ElementTree.fromstring(content, forbid_dtd=True)
    except defusedxml.DefusedXmlException as error:
        raise DistaxError(
            f"{path} declares entities or a document type, which annotations never need: "
            "do not trust this copy of the dataset"
        ) from error
    except (ParseError, LookupError, ValueError) as error:
        raise DistaxError(f"{path} is malformed XML ({error}): unpack the dataset again") from error
    objects = root.findall("object")
    if root.tag != "annotation" or not 1 <= len(objects) <= MAX_TARGETS:
        raise DistaxError(
            f"{path} holds {len(objects)} targets in <{root.tag}>, expected 1 to {MAX_TARGETS} in "
            "<annotation>: correct it or remove it with its image"
        )
    # In these files xc is the row and yc the column.
    values = np.array(
        [
            [_read_number(path, target, tag) for tag in ("xc", "yc", "brightness")]
            for target in objects
        ]
    )
    position, intensity = values[:, :2], values[:, 2]
    outside = (position < -0.5) | (position > np.array(IMAGE_SHAPE) - 0.5)
    if outside.any():
        row, column = position[outside.any(axis=1)][0]
        raise DistaxError(
            f"{path} has a target at row {row:g}, column {column:g}, outside the image of "
            f"{IMAGE_SHAPE[0]}×{IMAGE_SHAPE[1]} pixels: correct it or remove it with its image"
        )
    if (intensity <= 0).any():
        raise DistaxError(
            f"{path} has a target of brightness {intensity.min():g}, expected a positive number: "
            "correct it or remove it with its image"
        )
    return position, intensity


def _read_number(path: Path, target: Element, tag: str) -> float:
    """Reads the single finite number under `coordinate/<tag>` of an object."""
    texts = [element.text or "" for element in target.findall(f"coordinate/{tag}")]
    try:
        (value,) = map(float, texts)
    except ValueError:
        value = np.nan
    if not abs(value) <= float(np.finfo(np.float32).max):  # true for NaN as well
        raise DistaxError(
            f"{path} has {texts!s:.60} for {tag}, expected one finite number: correct it or "
            "remove it with its image"
        )
    return value


def _find_files(folder: Path, suffix: str, pattern: re.Pattern[str]) -> dict[int, Path]:
    """Finds the folder's files with a suffix, by the id in their names."""
    # Other programs leave files whose names start with a dot, as macOS's "._image_1.png".
    paths = sorted(path for path in folder.glob(f"*{suffix}") if not path.name.startswith("."))
    if not paths:
        raise DistaxError(
            f"no {suffix} files in {folder}: give the folder that holds the unpacked train/, val/ "
            "and test/ as the manual directory"
        )
    found: dict[int, Path] = {}
    for path in paths:
        match = pattern.fullmatch(path.name)
        if match is None:
            raise DistaxError(
                f"{path} is not named like the dataset's files (image_<id>.png, CSO<id>.xml): "
                "rename or remove it"
            )
        if (identifier := int(match[1])) in found:
            raise DistaxError(
                f"{path} has the same id as {found[identifier].name} beside it: remove one of them"
            )
        found[identifier] = path
    return found
