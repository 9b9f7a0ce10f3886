"""Results as Parquet files: a row for each image, with lists for its targets."""

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
        first = 0

        def flush() -> None:
            nonlocal writer, first
            table = _to_table(Columns.joined(parts), first, about)
            first += len(table)
            writer = writer or parquet.ParquetWriter(temporary, table.schema, compression="zstd")
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
            finally:
                if writer:
                    writer.close()

    def read(self, path: Path) -> Columns:
        with _open(path) as file:
            table = file.read().combine_chunks()
        lists = {
            name: table[name].combine_chunks()
            for name in TARGET_COLUMNS
            if name in table.schema.names
        }
        of_images = {
            name: np.asarray(table[name]) for name in IMAGE_COLUMNS if name in table.schema.names
        }
        problems = enumerate(table["problem"].to_pylist())
        return Columns(
            count=np.asarray(lists["row"].value_lengths()),
            of_targets={name: np.asarray(values.flatten()) for name, values in lists.items()},
            of_images=of_images,
            problems={image: problem for image, problem in problems if problem is not None},
        )

    def length(self, path: Path) -> int:
        with _open(path) as file:
            return int(file.metadata.num_rows)


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
        {"distax": format_json("the results", about)}
    )


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    """Opens a file; raises DistaxError if it is damaged, also for errors while it is read."""
    require("pyarrow", "Parquet files")
    import pyarrow
    from pyarrow import parquet

    check_regular(path)
    try:
        with parquet.ParquetFile(path) as file:
            yield file
    except (pyarrow.ArrowException, OSError) as error:
        raise DistaxError(
            f"{path}: damaged ({first_line(error)}); delete it and run unmix again"
        ) from None
