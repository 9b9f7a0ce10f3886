"""Reading of published trees: folders of PNG images, and of XML annotations of the same ids.

The files come from the internet, so both formats are read strictly.
"""

import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from jaxtyping import Float, UInt8

from distax.datasets.storage import Folder
from distax.imaging.checks import LARGEST_COUNT
from distax.imaging.scenes import IMAGE_SHAPE, ScenePrior
from distax.runtime.buckets import as_path
from distax.runtime.errors import DistaxError, unknown
from distax.runtime.optional import require

SPLIT_FOLDERS = {"train": "train", "validation": "val", "test": "test"}
MAX_TARGETS = ScenePrior().max_targets

SMALLEST = 1.2e-38
"""Least intensity in counts. float32 holds no smaller one."""
_NUMBER = re.compile(r"\s*[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?\s*")
"""A number in ASCII digits. Python's `float` takes others, and underscores."""
# An id of at most 18 digits fits 64 bits.
IMAGE_NAME = re.compile(r"image_([0-9]{1,18})\.png")
ANNOTATION_NAME = re.compile(r"(?:CSO|COS)([0-9]{1,18})\.xml")


@dataclass(frozen=True)
class Layout:
    """Names of a published tree.

    Attributes:
      title: name of the dataset.
      images, annotations: names of the two folders in the folder of a split.
      prefix: first letters of the annotations' names.
      place: the folders that the manual directory holds, for error messages.
      inner: folder in the manual directory that holds the splits, and that may be given in its
        place. Default: the manual directory itself.
    """

    title: str
    images: str
    annotations: str
    prefix: str
    place: str
    inner: str = ""

    def root(self, manual_dir: Path) -> Path:
        """Returns the folder that holds the splits."""
        inside = manual_dir / self.inner
        return inside if inside.is_dir() else manual_dir

    def check_manual_dir(self, manual_dir: Folder | None) -> None:
        """Raises DistaxError if a manual directory is not given or lacks a folder of the splits."""
        problem = "no manual directory was given"
        if manual_dir is not None:
            folder = as_path(manual_dir).expanduser()
            known = (self.inner, *SPLIT_FOLDERS.values())
            if any(name and (folder / name).is_dir() for name in known):
                return self._check_splits(self.root(folder))
            problem = f"{manual_dir} holds none of them"
        raise DistaxError(
            f"the released {self.title} is read from a folder that holds {self.place}, but "
            f"{problem}: download the dataset, unpack it and name that folder, or build `simulated`"
        )

    def _check_splits(self, root: Path) -> None:
        for split in SPLIT_FOLDERS.values():
            for name, suffix in ((self.images, ".png"), (self.annotations, ".xml")):
                if not (root / split / name).is_dir():
                    raise self.without_files(root / split / name, suffix)

    def without_files(self, folder: Path, suffix: str) -> DistaxError:
        """Makes the error for a folder without files of a suffix."""
        return DistaxError(
            f"no {suffix} files in {folder}: give the folder that holds the unpacked "
            f"{self.place} as the manual directory"
        )


class AnnotatedImage(NamedTuple):
    """An image's id and its two files."""

    identifier: int
    image: Path
    annotation: Path


def find_pairs(root: Path, split: str, layout: Layout) -> list[AnnotatedImage]:
    """Finds the images of a split and their annotations, in ascending order of their ids.

    Args:
      root: folder that holds train/, val/ and test/.
      split: train, validation or test.
      layout: names of the tree.

    Raises:
      DistaxError: the split is unknown, its folders are missing or empty, a file's name has another
        form, two files have the same id, or an image or an annotation lacks its counterpart.
    """
    if split not in SPLIT_FOLDERS:
        raise unknown("split", split, SPLIT_FOLDERS)
    folder = root / SPLIT_FOLDERS[split]
    images = _find_files(folder / layout.images, ".png", IMAGE_NAME, layout)
    annotations = _find_files(folder / layout.annotations, ".xml", ANNOTATION_NAME, layout)
    for identifier in sorted(images.keys() ^ annotations.keys()):
        if identifier in images:
            raise DistaxError(
                f"{images[identifier]} has no annotation {layout.prefix}{identifier}.xml in "
                f"{folder / layout.annotations}: unpack the dataset again, or remove the image"
            )
        raise DistaxError(
            f"{annotations[identifier]} has no image image_{identifier}.png in "
            f"{folder / layout.images}: unpack the dataset again, or remove the annotation"
        )
    return [AnnotatedImage(key, images[key], annotations[key]) for key in sorted(images)]


def read_png(path: Path, shape: tuple[int, int]) -> UInt8[np.ndarray, "height width"]:
    """Reads an 8-bit grey PNG of a given height and width.

    Raises:
      DistaxError: the file is truncated, damaged, not a PNG or not 8-bit grey, or has another
        size; or the package pillow is not installed.
      OSError: the file cannot be read at all.
    """
    require("PIL", "published images")
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
    path: Path, identifier: int | None = None
) -> tuple[Float[np.ndarray, "targets 2"], Float[np.ndarray, " targets"]]:
    """Reads positions (row, column in pixels) and intensities (counts) of an image's targets.

    The expected layout is `annotation/object/coordinate/{xc, yc, brightness}`, with one object for
    each target. In these files `xc` is the row.

    Args:
      path: the file.
      identifier: the id that the number in `annotation/filename` must be, if there is one. Default:
        any.

    Raises:
      DistaxError: the file is not XML, declares entities or a document type, has another layout,
        another id, no targets or too many, a value that is not a finite number, a brightness that
        is not positive, or a target outside the image; or the package defusedxml is not installed.
      OSError: the file cannot be read at all.
    """
    require("defusedxml", "published annotations")
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
    stated = re.search("[0-9]+", root.findtext("filename") or "")
    # Compared as text, because a damaged file may state more digits than `int` takes.
    if identifier is not None and stated and (stated[0].lstrip("0") or "0") != str(identifier):
        raise DistaxError(
            f"{path} says that it belongs to frame {stated[0]:.18}, so frames are out of order: "
            "unpack the dataset again"
        )
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
    if (dark := (intensity < SMALLEST)).any() or (intensity > LARGEST_COUNT).any():
        wrong = intensity.min() if dark.any() else intensity.max()
        raise DistaxError(
            f"{path} has a target of brightness {wrong:g}, expected a positive number of at most "
            f"{LARGEST_COUNT:g}: correct it or remove it with its image"
        )
    return position, intensity


def _read_number(path: Path, target: Element, tag: str) -> float:
    """Reads the single finite number under `coordinate/<tag>` of an object."""
    elements = target.findall(f"coordinate/{tag}")
    texts = ["other elements" if len(element) else element.text or "" for element in elements]
    value = float(texts[0]) if len(texts) == 1 and _NUMBER.fullmatch(texts[0]) else np.nan
    if not abs(value) <= float(np.finfo(np.float32).max):  # true for NaN as well
        raise DistaxError(
            f"{path} has {texts!s:.60} for {tag}, expected one finite number: correct it or "
            "remove it with its image"
        )
    return value


def _find_files(
    folder: Path, suffix: str, pattern: re.Pattern[str], layout: Layout
) -> dict[int, Path]:
    """Finds the folder's files with a suffix, by the id in their names."""
    # Other programs leave files whose names start with a dot, as macOS's "._image_1.png".
    paths = sorted(path for path in folder.glob(f"*{suffix}") if not path.name.startswith("."))
    if not paths:
        raise layout.without_files(folder, suffix)
    found: dict[int, Path] = {}
    for path in paths:
        match = pattern.fullmatch(path.name)
        if match is None:
            raise DistaxError(
                f"{path} is not named like the dataset's files (image_<id>.png, "
                f"{layout.prefix}<id>.xml): rename or remove it"
            )
        if (identifier := int(match[1])) in found:
            raise DistaxError(
                f"{path} has the same id as {found[identifier].name} beside it: remove one of them"
            )
        found[identifier] = path
    return found
