import json
from dataclasses import replace

import numpy as np
import pytest
from array_record.python import array_record_module
from array_record.python.array_record_module import ArrayRecordReader
from pyarrow import parquet
from tensorflow_datasets.proto import tf_example_pb2

from distax import DistaxError, Targets
from distax.shards import FORMATS, read_results
from distax.shards.columns import Columns
from tests.shards.files import ABOUT, write

PROBLEMS = {5: "pixel (0, 0) is NaN"}


def read_parquet(path):
    """Reads rows by pyarrow alone, and the description."""
    table = parquet.read_table(path)
    return table.to_pylist(), json.loads(table.schema.metadata[b"distax"])


def read_records(path):
    """Reads rows by ArrayRecord and protobuf alone, and the description."""
    reader = ArrayRecordReader(str(path))
    rows = []
    for record in reader.read_all():
        row = {}
        for name, feature in tf_example_pb2.Example.FromString(record).features.feature.items():
            row[name] = list(getattr(feature, feature.WhichOneof("kind") or "float_list").value)
        rows.append(row)
    reader.close()
    (about,) = rows[0].pop("distax")
    for row in rows:
        row |= {name: row[name][0] for name in ("image", "count_probability", "misfit", "trusted")}
        row["problem"] = row["problem"][0].decode() if "problem" in row else None
    return rows, json.loads(about)


READERS = {"parquet": read_parquet, "array_record": read_records}


@pytest.fixture(params=FORMATS)
def file_format(request):
    return request.param


def test_other_readers_find_every_value_under_its_name(found, file_format, tmp_path):
    path = tmp_path / f"a{FORMATS[file_format].suffix}"
    write(path, file_format, found, PROBLEMS)
    rows, about = READERS[file_format](path)
    assert about == ABOUT
    assert [row["image"] for row in rows] == list(range(9))
    for image, row in enumerate(rows):
        slots = [k for k in range(4) if found.mask[image, k] and image not in PROBLEMS]
        assert row["problem"] == PROBLEMS.get(image)
        assert row["trusted"] == (bool(found.trusted[image]) and image not in PROBLEMS)
        assert row["misfit"] == found.misfit[image]
        assert row["count_probability"] == found.count_probability[image]
        expected = {
            "row": [found.position[image, k, 0] for k in slots],
            "column": [found.position[image, k, 1] for k in slots],
            "intensity": [found.intensity[image, k] for k in slots],
            "score": [found.score[image, k] for k in slots],
            "intensity_std": [found.intensity_std[image, k] for k in slots],
            "row_variance": [found.covariance[image, k, 0, 0] for k in slots],
            "column_variance": [found.covariance[image, k, 1, 1] for k in slots],
            "row_column_covariance": [found.covariance[image, k, 0, 1] for k in slots],
            "hit_probability_05": [found.hit_probability[image, k, 0] for k in slots],
            "hit_probability_10": [found.hit_probability[image, k, 1] for k in slots],
            "hit_probability_25": [found.hit_probability[image, k, 4] for k in slots],
            "credible_radius_50": [found.credible_radius[image, k, 0] for k in slots],
            "credible_radius_95": [found.credible_radius[image, k, 2] for k in slots],
        }
        assert {name: row[name] for name in expected} == expected


def test_distax_reads_back_all_it_wrote(found, file_format, tmp_path):
    write(tmp_path / f"b{FORMATS[file_format].suffix}", file_format, found, {})
    ((name, read),) = read_results(tmp_path)
    assert name == "b"
    assert np.array_equal(read.trusted, found.trusted)
    assert np.array_equal(read.misfit, found.misfit)
    assert np.array_equal(read.count_probability, found.count_probability)
    for image in range(9):
        old, new = np.flatnonzero(found.mask[image]), np.flatnonzero(read.mask[image])
        assert new.tolist() == list(range(len(old)))
        for field in ("position", "covariance", "hit_probability", "credible_radius", "score"):
            assert np.array_equal(
                getattr(read, field)[image][new], getattr(found, field)[image][old]
            )
    assert not read.position[~read.mask].any()


def test_what_a_method_does_not_give_has_no_column(found, file_format, tmp_path):
    path = tmp_path / f"c{FORMATS[file_format].suffix}"
    plain = Targets(
        position=found.position, intensity=found.intensity, mask=found.mask, score=found.score
    )
    write(path, file_format, plain, {})
    ((_, read),) = read_results(tmp_path)
    for field in ("covariance", "intensity_std", "hit_probability", "misfit", "trusted"):
        assert getattr(read, field) is None
    write(path, file_format, plain, PROBLEMS)
    ((_, read),) = read_results(tmp_path)
    assert read.trusted.tolist() == [image not in PROBLEMS for image in range(9)]
    assert not read.mask[5].any()


def test_images_without_any_target_are_kept(found, file_format, tmp_path):
    nothing = replace(found, mask=np.zeros_like(found.mask))
    write(tmp_path / f"d{FORMATS[file_format].suffix}", file_format, nothing, {})
    ((_, read),) = read_results(tmp_path)
    assert read.mask.shape == (9, 1)
    assert not read.mask.any()


def test_a_file_is_written_whole_or_not_at_all(found, file_format, tmp_path):
    path = tmp_path / f"e{FORMATS[file_format].suffix}"

    def write_a_part():
        with FORMATS[file_format].writing(path, ABOUT) as append:
            append(Columns.of(found, {}))
            raise KeyError

    with pytest.raises(KeyError):
        write_a_part()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), RuntimeError("disk full")]
)
def test_a_full_disk_is_named(error, found, tmp_path, monkeypatch):
    def fail(self, *arguments):
        raise error

    if isinstance(error, OSError):
        monkeypatch.setattr("pyarrow.parquet.ParquetWriter.write_table", fail)
        path, file_format = tmp_path / "a.parquet", "parquet"
    else:
        monkeypatch.setattr(array_record_module.ArrayRecordWriter, "write", fail)
        path, file_format = tmp_path / "a.array_record", "array_record"
    with pytest.raises(DistaxError, match=rf"{path.name}: cannot be written .*(space|full)"):
        write(path, file_format, found, {})
    assert not list(tmp_path.iterdir())


def test_the_description_is_read_alone(found, file_format, tmp_path):
    path = tmp_path / "f"
    write(path, file_format, found, {})
    assert FORMATS[file_format].about(path) == ABOUT


@pytest.mark.parametrize("keep", [0, 100, 0.9])
def test_damaged_results_are_named(found, file_format, keep, tmp_path):
    path = tmp_path / f"g{FORMATS[file_format].suffix}"
    write(path, file_format, found, {})
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if keep < 1 else keep])
    with pytest.raises(DistaxError, match=rf"g\.{file_format}: damaged"):
        list(read_results(tmp_path))


def test_a_folder_without_results_is_named(tmp_path):
    (tmp_path / "_settings.json").touch()
    with pytest.raises(DistaxError, match="holds no results"):
        list(read_results(tmp_path))


def test_a_folder_is_one_table(found, tmp_path):
    (tmp_path / "_settings.json").write_text("{}")
    for name in ("a", "b"):
        write(tmp_path / f"{name}.parquet", "parquet", found, PROBLEMS)
    assert parquet.read_table(tmp_path)["image"].to_pylist() == 2 * list(range(9))


def test_row_groups_do_not_change_what_is_read(found, tmp_path, monkeypatch):
    write(tmp_path / "h.parquet", "parquet", found, PROBLEMS)
    monkeypatch.setattr("distax.shards.parquet._ROWS_AT_ONCE", 2)
    write(tmp_path / "i.parquet", "parquet", found, PROBLEMS)
    assert parquet.ParquetFile(tmp_path / "i.parquet").num_row_groups > 1
    one, several = (parquet.read_table(tmp_path / name) for name in ("h.parquet", "i.parquet"))
    assert one.equals(several)
