"""Files that are not as unmix wrote them: each is refused in one line that names it."""

import os
from dataclasses import fields, replace

import numpy as np
import pyarrow as pa
import pytest
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter
from pyarrow import parquet
from tensorflow_datasets.proto import tf_example_pb2

from distax import DistaxError
from distax.shards import FORMATS, read_results
from distax.shards.columns import Columns
from distax.shards.stored import Checksum
from tests.shards.files import part, write

PROBLEMS = {5: "pixel (0, 0) is NaN"}


def refused(folder, message):
    with pytest.raises(DistaxError, match=message) as error:
        list(read_results(folder))
    assert "\n" not in str(error.value)
    assert str(folder / "a.") in str(error.value)
    assert "run unmix again" in str(error.value)


def other(table, name, values, kind=None):
    """Returns a table with other values in a column, of the same type unless one is given."""
    place = table.schema.get_field_index(name)
    array = pa.array(values, kind or table.schema.field(name).type)
    return table.set_column(place, name, array)


def edited(table, name, edit, kind=None):
    return other(table, name, [edit(value) for value in table[name].to_pylist()], kind)


TABLES = {
    "no column row,": lambda table: table.drop(["row"]),
    "no column column,": lambda table: table.drop(["column"]),
    "no column intensity,": lambda table: table.drop(["intensity"]),
    "no column image,": lambda table: table.drop(["image"]),
    "no column problem,": lambda table: table.drop(["problem"]),
    "no column row_column_covariance,": lambda table: table.drop(["row_column_covariance"]),
    "no column hit_probability_25,": lambda table: table.drop(["hit_probability_25"]),
    "lacks values in the column row": lambda table: other(table, "row", [None] * 9),
    "lacks values in the column score": lambda table: edited(
        table, "score", lambda values: [None] * len(values)
    ),
    "lacks values in the column misfit": lambda table: other(table, "misfit", [None] * 9),
    "lists of other lengths in the column score": lambda table: edited(
        table, "score", lambda values: [*values, 1.0]
    ),
    "column row is of string": lambda table: other(table, "row", ["a"] * 9, pa.string()),
    "column column is of list<.*string>": lambda table: edited(
        table, "column", lambda values: [*map(str, values)], pa.list_(pa.string())
    ),
    "column misfit is of string": lambda table: other(table, "misfit", ["a"] * 9, pa.string()),
    "column problem is of int64": lambda table: other(table, "problem", [5] * 9, pa.int64()),
    "column image is of double": lambda table: other(table, "image", [0.5] * 9, pa.float64()),
    "infinite in the column row": lambda table: edited(
        table, "row", lambda values: [np.nan] * len(values)
    ),
    "infinite in the column intensity": lambda table: edited(
        table, "intensity", lambda values: [np.inf] * len(values)
    ),
    "targets in an image that could not be": lambda table: other(table, "problem", ["text"] * 9),
    "image 8 stands in the place of image 0": lambda table: table.take([*range(8, -1, -1)]),
    "image 0 stands in the place of image 1": lambda table: table.take([0] * 9),
    "holds no images": lambda table: table.slice(0, 0),
    "several columns row": lambda table: table.append_column("row", table["row"]),
    "no description of a method": lambda table: table.replace_schema_metadata({}),
    "is no JSON": lambda table: table.replace_schema_metadata({"distax": b"\xff"}),
    "damaged .*UTF8": lambda table: other(table, "problem", [b"\xff"] * 9, pa.binary()).cast(
        table.schema, safe=False
    ),
    "wrong checksum": lambda table: edited(
        table, "row", lambda values: [value + 1 for value in values]
    ),
    r"changed by another program \(wrong checksum\)": lambda table: table.drop(["misfit"]),
}


@pytest.mark.parametrize("message", TABLES)
def test_tables_that_unmix_did_not_write_are_refused(message, found, tmp_path):
    path = tmp_path / "a.parquet"
    write(path, "parquet", found, PROBLEMS)
    parquet.write_table(TABLES[message](parquet.read_table(path)), path)
    refused(tmp_path, message)


def test_a_foreign_table_is_refused(tmp_path):
    parquet.write_table(pa.table({"a": [*range(9)]}), tmp_path / "a.parquet")
    refused(tmp_path, "no description of a method, so it is no file of answers")


def without(name):
    def edit(rows):
        for row in rows:
            del row[name]
        return rows

    return edit


def first_of(name, kind, *values):
    """Gives the first image other values of a column."""

    def edit(rows):
        rows[0][name].Clear()
        getattr(rows[0][name], kind).value.extend(values)
        return rows

    return edit


def lose(rows):
    del rows[4]["misfit"]
    return rows


RECORDS = {
    "no column row,": without("row"),
    "no column column,": without("column"),
    "no column credible_radius_95,": without("credible_radius_95"),
    "no column image,": without("image"),
    "image 4 has no column misfit": lose,
    "other lengths in the column score": first_of("score", "float_list", *range(9)),
    "row holds values of another type": first_of("row", "bytes_list", b"a"),
    "misfit holds values of another type": first_of("misfit", "bytes_list", b"a"),
    "image holds values of another type": first_of("image", "float_list", 0.0),
    "2 values for an image in the column misfit": first_of("misfit", "float_list", 1, 2),
    "0 values for an image in the column trusted": first_of("trusted", "int64_list"),
    "problem holds values of another type": first_of("problem", "int64_list", 1),
    "a problem is not UTF-8": first_of("problem", "bytes_list", b"\xff"),
    "image 8 stands in the place of image 0": lambda rows: rows[::-1],
    "image 0 stands in the place of image 1": lambda rows: [rows[0]] * 9,
    "no description of a method": without("distax"),
    "is no JSON": first_of("distax", "bytes_list", b"\xff"),
    "holds no images": lambda rows: [],
}


def write_records(path, records):
    writer = ArrayRecordWriter(str(path), "group_size:1")
    for record in records:
        writer.write(record)
    writer.close()


@pytest.mark.parametrize("message", RECORDS)
def test_records_that_unmix_did_not_write_are_refused(message, found, tmp_path):
    path = tmp_path / "a.array_record"
    write(path, "array_record", found, {})
    reader = ArrayRecordReader(str(path))
    examples = [tf_example_pb2.Example.FromString(record) for record in reader.read_all()]
    reader.close()
    about = examples[0].features.feature["distax"].bytes_list.value[0]
    rows = [example.features.feature for example in examples]
    if message.startswith("image 8"):
        rows[8]["distax"].bytes_list.value.append(about)
    elif message == "no description of a method":
        for row in rows[1:]:
            row["distax"].bytes_list.value.append(about)
    chosen = RECORDS[message](rows)
    order = [next(at for at, row in enumerate(rows) if row is one) for one in chosen]
    write_records(path, [examples[at].SerializeToString() for at in order])
    refused(tmp_path, message)


@pytest.mark.parametrize(
    ("record", "message"), [(b"", "no description"), (b"\xff", "no TFDS example")]
)
def test_records_of_something_else_are_refused(record, message, tmp_path):
    write_records(tmp_path / "a.array_record", [record] * 9)
    refused(tmp_path, message)


@pytest.mark.parametrize("file_format", FORMATS)
def test_no_flipped_bit_changes_an_answer_silently(file_format, found, tmp_path):
    path = tmp_path / f"a{FORMATS[file_format].suffix}"
    write(path, file_format, found, PROBLEMS)
    content = path.read_bytes()
    ((_, expected),) = read_results(tmp_path)
    random, refusals = np.random.default_rng(0), []
    # ArrayRecord fills its blocks with zeros.
    for place in random.choice(np.flatnonzero(np.frombuffer(content, np.uint8)), 200):
        flipped = bytearray(content)
        flipped[place] ^= 1 << random.integers(8)
        path.write_bytes(flipped)
        try:
            ((_, read),) = read_results(tmp_path)
        except DistaxError as error:
            refusals.append(str(error))
        else:
            for name in (field.name for field in fields(read)):
                assert np.array_equal(getattr(read, name), getattr(expected, name)), (name, place)
    assert len(refusals) > 100
    assert all(line.startswith(f"{path}: ") and "\n" not in line for line in refusals)


@pytest.mark.parametrize("file_format", FORMATS)
def test_pipes_are_refused(file_format, tmp_path):
    os.mkfifo(tmp_path / f"a{FORMATS[file_format].suffix}")
    with pytest.raises(DistaxError, match=rf"a\.{file_format}: is no regular file"):
        list(read_results(tmp_path))


def test_a_checksum_depends_on_every_value_and_not_on_the_parts(found):
    whole = Checksum.of([Columns.of(found, PROBLEMS)])
    parts = [
        Columns.of(part(found, slice(0, 4)), {}),
        Columns.of(part(found, slice(4, 9)), {1: PROBLEMS[5]}),
    ]
    assert Checksum.of(parts) == whole
    mask = found.mask.copy()
    mask[0] = ~mask[0]
    position = found.position.copy()
    position[5, 0, 0] += 1e-3
    trusted = found.trusted.copy()
    trusted[8] = ~trusted[8]
    others = [
        Columns.of(replace(found, mask=mask), PROBLEMS),
        Columns.of(replace(found, position=position), {}),
        Columns.of(replace(found, trusted=trusted), PROBLEMS),
        Columns.of(replace(found, misfit=None), PROBLEMS),
        Columns.of(found, {5: "another"}),
        Columns.of(found, {}),
    ]
    assert len({whole, *(Checksum.of([columns]) for columns in others)}) == 7
