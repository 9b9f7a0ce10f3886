"""Results as Parquet files: a row for each image, with lists for its targets.

Pages have checksums, which readers of Parquet can compare. They leave out the places of the pages
and the names of the columns, so the CRC-32 of all columns is in the file's metadata.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from distax.runtime.devices import check_regular
from distax.runtime.errors import DistaxError, first_line
from distax.runtime.files import atomic_write
from distax.runtime.optional import require
from distax.runtime.plain_json import format_json
from distax.shards.columns import IMAGE_COLUMNS, TARGET_COLUMNS, Columns
from distax.shards.stored import (
    Checksum,
    Stored,
    check_names,
    check_order,
    joined,
    parse_about,
    refusal,
)

_ABOUT, _CHECKSUM = "distax", "distax_crc32"
"""Keys of the description and of the checksum in a file's metadata."""
_ROWS_AT_ONCE = 16384
"""Images of a row group, which readers load as a whole. Smaller groups make larger files, larger
ones need more memory."""


class Parquet:
    """The format Parquet; see `results.Format`. The description is in the schema's metadata."""

    suffix = ".parquet"

    def check(self) -> None:
        require("pyarrow", "Parquet files")

    @contextmanager
    def writing(self, path: Path, about: Mapping[str, Any]) -> Iterator[Callable[[Columns], None]]:
        from pyarrow import parquet

        parts: list[Columns] = []
        writer: parquet.ParquetWriter | None = None
        checksum = Checksum()

        def flush() -> None:
            nonlocal writer
            columns = Columns.joined(parts)
            table = _to_table(columns, checksum.images, about)
            checksum.add(columns)
            writer = writer or parquet.ParquetWriter(
                temporary, table.schema, compression="zstd", write_page_checksum=True
            )
            writer.write_table(table)
            parts.clear()

        def write(columns: Columns) -> None:
            parts.append(columns)
            if sum(map(len, parts)) >= _ROWS_AT_ONCE:
                flush()

        with atomic_write(path) as temporary:
            try:
                yield write
                if parts:
                    flush()
                if writer:
                    writer.add_key_value_metadata({_CHECKSUM: str(checksum.value)})
            finally:
                if writer:
                    writer.close()

    def read(self, path: Path) -> Stored:
        parts: list[Columns] = []
        lengths = []
        first = 0
        with _open(path) as file:
            about = _about(path, file)
            names = _check_schema(path, file.schema_arrow)
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=names).combine_chunks()
                table.validate(full=True)
                check_order(path, np.asarray(table["image"]), first)
                first += len(table)
                part, numbers = _to_columns(path, table)
                parts.append(part)
                lengths.append(numbers)
            columns = joined(path, lengths, parts)
            if file.metadata.metadata.get(_CHECKSUM.encode()) != b"%d" % Checksum.of(parts):
                raise refusal(path, "damaged, or changed by another program (wrong checksum)")
        return Stored(about, columns)

    def about(self, path: Path) -> Mapping[str, Any]:
        with _open(path) as file:
            return _about(path, file)


def _about(path: Path, file: Any) -> Mapping[str, Any]:
    return parse_about(path, (file.metadata.metadata or {}).get(_ABOUT.encode()))


def _types() -> dict[str, Any]:
    """Returns the types of all columns by name."""
    import pyarrow

    return {
        "image": pyarrow.int64(),
        **dict.fromkeys(TARGET_COLUMNS, pyarrow.list_(pyarrow.float32())),
        **{name: pyarrow.from_numpy_dtype(kind) for name, kind in IMAGE_COLUMNS.items()},
        "problem": pyarrow.string(),
    }


def _check_schema(path: Path, schema: Any) -> list[str]:
    """Returns the names of a file's columns of answers; raises DistaxError if one is wrong."""
    types = _types()
    names = [name for name in types if name in schema.names]
    check_names(path, names)
    if "problem" not in names:
        raise refusal(path, "has no column problem, so it is no whole file of answers")
    for name in names:
        if schema.names.count(name) > 1:
            raise refusal(path, f"has several columns {name}")
        if (kind := schema.field(name).type) != types[name]:
            raise refusal(path, f"its column {name} is of {kind}, not of {types[name]}")
    return names


def _to_columns(path: Path, table: Any) -> tuple[Columns, dict[str, np.ndarray]]:
    """Converts a table of the right types; also returns the lengths of the lists by column."""
    arrays = {name: table[name].combine_chunks() for name in table.schema.names}
    lists = {name: values for name, values in arrays.items() if name in TARGET_COLUMNS}
    of_targets = {name: values.flatten() for name, values in lists.items()}
    for name, values in (*arrays.items(), *of_targets.items()):
        if name != "problem" and values.null_count:
            raise refusal(path, f"lacks values in the column {name}")
    lengths = {name: np.asarray(values.value_lengths()) for name, values in lists.items()}
    problems = enumerate(arrays["problem"].to_pylist())
    columns = Columns(
        count=lengths["row"],
        of_targets={name: np.asarray(values) for name, values in of_targets.items()},
        of_images={name: np.asarray(arrays[name]) for name in IMAGE_COLUMNS if name in arrays},
        problems={image: problem for image, problem in problems if problem is not None},
    )
    return columns, lengths


def _to_table(columns: Columns, first: int, about: Mapping[str, Any]) -> Any:
    """Makes a pyarrow Table of images that are numbered from `first`."""
    import pyarrow

    ends = pyarrow.array(columns.ends.astype(np.int32))
    problems = [columns.problems.get(image) for image in range(len(columns))]
    arrays = {
        "image": pyarrow.array(np.arange(first, first + len(columns))),
        **{
            name: pyarrow.ListArray.from_arrays(ends, pyarrow.array(values))
            for name, values in columns.of_targets.items()
        },
        **{name: pyarrow.array(values) for name, values in columns.of_images.items()},
        "problem": pyarrow.array(problems, pyarrow.string()),
    }
    return pyarrow.table(arrays).replace_schema_metadata(
        {_ABOUT: format_json("the results", about)}
    )


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    """Opens a file; raises DistaxError if it is damaged, also for errors while it is read."""
    require("pyarrow", "Parquet files")
    import pyarrow
    from pyarrow import parquet

    check_regular(path)
    try:
        with parquet.ParquetFile(path, page_checksum_verification=True) as file:
            yield file
    except DistaxError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise refusal(path, f"damaged ({first_line(error)})") from None
