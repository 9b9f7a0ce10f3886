"""Results as ArrayRecord files: a TFDS example for each image, with lists for its targets.

ArrayRecord has checksums of its own, which its reader compares.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from etils import epath

from distax.runtime.errors import DistaxError, first_line
from distax.runtime.files import atomic_write
from distax.runtime.optional import require
from distax.runtime.plain_json import format_json
from distax.shards.columns import IMAGE_COLUMNS, TARGET_COLUMNS, Columns
from distax.shards.records import open_records, parse_features, read_records
from distax.shards.stored import Stored, check_names, check_order, joined, parse_about, refusal

_AT_ONCE = 1024
"""Records that are parsed at a time. Parsed ones take many times the memory of their content."""
_ADVICE = "delete it and run unmix again"


class ArrayRecord:
    """The format ArrayRecord; see `results.Format`. The description is in the first record."""

    suffix = ".array_record"

    def check(self) -> None:
        require("array_record", "ArrayRecord files")

    @contextmanager
    def writing(self, path: Path, about: Mapping[str, Any]) -> Iterator[Callable[[Columns], None]]:
        require("array_record", "ArrayRecord files")
        from array_record.python.array_record_module import ArrayRecordWriter

        first = 0

        def write(columns: Columns) -> None:
            nonlocal first
            with _naming(path):
                for record in _to_records(columns, first, about):
                    writer.write(record)
            first += len(columns)

        with atomic_write(path) as temporary:
            # Groups of one record, as TFDS writes them, suit readers that take records at random.
            writer = ArrayRecordWriter(os.fspath(temporary), "group_size:1")
            try:
                yield write
            finally:
                with _naming(path):
                    writer.close()

    def read(self, path: Path) -> Stored:
        parts, lengths = [], []
        with self._open(path) as (about, records, names):
            for start in range(0, records.num_records(), _AT_ONCE):
                stop = min(start + _AT_ONCE, records.num_records())
                images = _parse(path, records, start, stop)
                part, numbers = _to_columns(path, images, start, names)
                parts.append(part)
                lengths.append(numbers)
        return Stored(about, joined(path, lengths, parts))

    def about(self, path: Path) -> Mapping[str, Any]:
        with self._open(path) as (about, _, _):
            return about

    @contextmanager
    def _open(self, path: Path) -> Iterator[tuple[Mapping[str, Any], Any, Sequence[str]]]:
        """Opens a file, and yields its description, its records and the names of its columns."""
        with open_records(epath.Path(path), _ADVICE) as records:
            if not records.num_records():
                raise refusal(path, "holds no images")
            (first,) = _parse(path, records, 0, 1)
            texts = first["distax"].bytes_list.value if "distax" in first else ()
            about = parse_about(path, b"".join(texts) if texts else None)
            names = [name for name in (*TARGET_COLUMNS, *IMAGE_COLUMNS) if name in first]
            check_names(path, first)
            yield about, records, names


def _parse(path: Path, records: Any, start: int, stop: int) -> list[Mapping[str, Any]]:
    """Reads the features of images; raises DistaxError if they cannot be read."""
    file = epath.Path(path)
    read = read_records(file, records, start, stop, _ADVICE)
    return [parse_features(file, record, _ADVICE) for record in read]


def _to_columns(
    path: Path, images: Sequence[Mapping[str, Any]], first: int, names: Sequence[str]
) -> tuple[Columns, dict[str, np.ndarray]]:
    """Converts records of images from `first` on; also returns the lengths of the lists by column.

    Raises:
      DistaxError: a record has other columns than those named, or values of other types.
    """
    needed = {"image", *names}
    for number, image in enumerate(images, start=first):
        if lost := needed - set(image):
            raise refusal(path, f"image {number} has no column {min(lost)}")
    numbers = [_single(path, image, "image", "int64_list") for image in images]
    check_order(path, np.array(numbers), first)
    targets = {
        name: [_values(path, image, name, "float_list") for image in images]
        for name in names
        if name in TARGET_COLUMNS
    }
    kinds = {
        name: "int64_list" if IMAGE_COLUMNS[name] is np.bool_ else "float_list"
        for name in names
        if name in IMAGE_COLUMNS
    }
    lengths = {name: np.array([*map(len, column)]) for name, column in targets.items()}
    columns = Columns(
        count=lengths["row"],
        of_targets={
            name: np.array([value for values in column for value in values], np.float32)
            for name, column in targets.items()
        },
        of_images={
            name: np.array([_single(path, image, name, kind) for image in images]).astype(
                IMAGE_COLUMNS[name]
            )
            for name, kind in kinds.items()
        },
        problems={
            number: _text(path, image) for number, image in enumerate(images) if "problem" in image
        },
    )
    return columns, lengths


def _values(path: Path, image: Mapping[str, Any], name: str, kind: str) -> Sequence[Any]:
    """Returns the values of a column in an image; raises DistaxError if they are of other kinds."""
    feature = image[name]
    if feature.WhichOneof("kind") not in (kind, None):
        raise refusal(path, f"its column {name} holds values of another type")
    values: Sequence[Any] = getattr(feature, kind).value
    return values


def _single(path: Path, image: Mapping[str, Any], name: str, kind: str) -> Any:
    """Returns an image's value in a column of images."""
    values = _values(path, image, name, kind)
    if len(values) != 1:
        raise refusal(path, f"has {len(values)} values for an image in the column {name}")
    return values[0]


def _text(path: Path, image: Mapping[str, Any]) -> str:
    """Returns the reason why an image could not be unmixed."""
    text: bytes = _single(path, image, "problem", "bytes_list")
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise refusal(path, "damaged (the text of a problem is not UTF-8)") from None


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turns errors of the ArrayRecord writer, as of a full disk, into errors that name the file."""
    try:
        yield
    except RuntimeError as error:
        raise DistaxError(f"{path}: cannot be written ({first_line(error)})") from error


def _to_records(columns: Columns, first: int, about: Mapping[str, Any]) -> Iterator[bytes]:
    """Yields the records of images that are numbered from `first`, as serialised TFDS examples."""
    from tensorflow_datasets.proto import tf_example_pb2

    of_targets = {name: values.tolist() for name, values in columns.of_targets.items()}
    of_images = {name: values.tolist() for name, values in columns.of_images.items()}
    ends = columns.ends.tolist()
    for image in range(len(columns)):
        example = tf_example_pb2.Example()
        feature = example.features.feature
        feature["image"].int64_list.value.append(first + image)
        for name, values in of_targets.items():
            feature[name].float_list.value.extend(values[ends[image] : ends[image + 1]])
        for name, values in of_images.items():
            value = values[image]
            if isinstance(value, bool):
                feature[name].int64_list.value.append(int(value))
            else:
                feature[name].float_list.value.append(value)
        if problem := columns.problems.get(image):
            feature["problem"].bytes_list.value.append(problem.encode())
        if first + image == 0:
            feature["distax"].bytes_list.value.append(format_json("the results", about).encode())
        yield example.SerializeToString(deterministic=True)
