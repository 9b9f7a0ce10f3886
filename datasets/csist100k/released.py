"""The published tree: `<split>/cso_img/image_<id>.png`, `<split>/Annotations/CSO<id>.xml`."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from jaxtyping import Float

from distax.datasets.csist100k.png import read_png
from distax.datasets.csist100k.record import IMAGE_SHAPE, MAX_TARGETS, make_record
from distax.datasets.storage import Record
from distax.runtime.errors import DistaxError
from distax.runtime.optional import require

FOLDERS = {"train": "train", "validation": "val", "test": "test"}

# At most 18 digits, so that an id fits 64 bits.
IMAGE_NAME = re.compile(r"image_(\d{1,18})\.png")
ANNOTATION_NAME = re.compile(r"(?:CSO|COS)(\d{1,18})\.xml")


class Pair(NamedTuple):
    """An image's id and its two files."""

    identifier: int
    image: Path
    annotation: Path


def find_pairs(root: Path, split: str) -> list[Pair]:
    """Images of a split with their annotations, in rising order of their ids.

    Raises:
      DistaxError: the split's folders are missing or empty, a file has an unknown name, two have
        the same id, or an image and an annotation lack each other.
    """
    folder = root / FOLDERS[split]
    images = _by_id(folder / "cso_img", ".png", IMAGE_NAME)
    annotations = _by_id(folder / "Annotations", ".xml", ANNOTATION_NAME)
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
    return [Pair(key, images[key], annotations[key]) for key in sorted(images)]


def records(pairs: list[Pair]) -> Iterator[tuple[int, Record]]:
    """Keys and records of the pairs, in their order.

    Raises:
      DistaxError: as `read_png` and `read_annotation` do.
    """
    for pair in pairs:
        position, intensity = read_annotation(pair.annotation)
        image = read_png(pair.image, IMAGE_SHAPE)
        yield pair.identifier, make_record(pair.identifier, image, position, intensity)


def read_annotation(
    path: Path,
) -> tuple[Float[np.ndarray, "targets 2"], Float[np.ndarray, " targets"]]:
    """Positions (row, column in pixels) and intensities (counts) of an image's targets.

    Raises:
      DistaxError: the file is no XML, declares entities or a document type, has another layout,
        no targets or too many, a value that is no finite number, or a target outside the image.
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
        [[_number(path, target, tag) for tag in ("xc", "yc", "brightness")] for target in objects]
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


def _number(path: Path, target: Element, tag: str) -> float:
    """The one finite number under `coordinate/<tag>` of an object."""
    texts = [element.text or "" for element in target.findall(f"coordinate/{tag}")]
    try:
        (value,) = map(float, texts)
    except ValueError:
        value = np.nan
    if not abs(value) <= float(np.finfo(np.float32).max):  # NaN is neither
        raise DistaxError(
            f"{path} has {texts!s:.60} for {tag}, expected one finite number: correct it or "
            "remove it with its image"
        )
    return value


def _by_id(folder: Path, suffix: str, pattern: re.Pattern[str]) -> dict[int, Path]:
    """The folder's files with that suffix by the id in their names."""
    # Names that start with a dot are other programs' droppings (macOS's "._image_1.png").
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
