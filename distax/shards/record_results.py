"""Results as ArrayRecord files: a TFDS example for each image, with lists for its targets."""

import os
from collections.abc import Callable, Iterator, Mapping
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

    def read(self, path: Path) -> Columns:
        file = epath.Path(path)
        with open_records(file) as records:
            raw = read_records(file, records, 0, records.num_records())
        images = [parse_features(file, record) for record in raw]
        targets = {
            name: [image[name].float_list.value for image in images]
            for name in TARGET_COLUMNS
            if name in images[0]
        }
        return Columns(
            count=np.array([len(values) for values in targets["row"]]),
            of_targets={
                name: np.array([value for values in column for value in values], np.float32)
                for name, column in targets.items()
            },
            of_images={
                name: np.array([_number(image[name]) for image in images], kind)
                for name, kind in IMAGE_COLUMNS.items()
                if name in images[0]
            },
            problems={
                number: image["problem"].bytes_list.value[0].decode()
                for number, image in enumerate(images)
                if "problem" in image
            },
        )

    def length(self, path: Path) -> int:
        with open_records(epath.Path(path)) as records:
            return int(records.num_records())


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turns errors of the ArrayRecord writer, as of a full disk, into errors that name the file."""
    try:
        yield
    except RuntimeError as error:
        raise DistaxError(f"{path}: cannot be written ({first_line(error)})") from error


def _number(feature: Any) -> float:
    (number,) = feature.float_list.value or feature.int64_list.value
    return float(number)


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
