import glob
import os
import zlib

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordWriter
from etils import epath
from tensorflow_datasets.proto import tf_example_pb2

from distax import DistaxError, Sensor
from distax.datasets.csist100k.record import features, make_record
from distax.shards import find_shards, open_shard
from distax.shards.sources import describe_shard, plain_name

SHAPE = Sensor().shape
COUNTS = np.random.default_rng(0).integers(0, 256, (7, *SHAPE), np.uint8)


def write_records(path, images, encode=None):
    """Writes records as TFDS does, or as `encode` says."""
    writer = ArrayRecordWriter(str(path), "group_size:1")
    for number, image in enumerate(images):
        record = make_record(number, image, np.zeros((1, 2)), np.ones(1))
        writer.write(encode(image) if encode else features().serialize_example(record))
    writer.close()


def read(path, *portions):
    with open_shard(path, SHAPE) as shard:
        return len(shard), [shard.read(*portion) for portion in portions]


@pytest.mark.parametrize("kind", ["u1", "<u2", ">u2", "<i4", "<f4", ">f8", "<f2"])
def test_numpy_s_arrays_are_read_in_portions(kind, tmp_path):
    images = COUNTS.astype(kind)
    np.save(tmp_path / "a.npy", images)
    length, (first, last, none) = read(tmp_path / "a.npy", (0, 3), (5, 7), (2, 2))
    assert length == 7
    assert first.dtype == np.float32
    assert np.array_equal(first, images[:3])
    assert np.array_equal(last, images[5:])
    assert none.shape == (0, *SHAPE)


def test_records_of_datasets_are_read_in_portions(tmp_path):
    write_records(tmp_path / "a.array_record", COUNTS)
    length, (first, last) = read(tmp_path / "a.array_record", (0, 3), (3, 7))
    assert length == 7
    assert first.dtype == np.float32
    assert np.array_equal(np.concatenate([first, last]), COUNTS)


BAD_ARRAYS = {
    "images × 11 × 11 px": COUNTS[:, :9],
    r"shape \(11, 11\)": COUNTS[0],
    "not of counts": COUNTS > 3,
    "array of complex64": COUNTS.astype(np.complex64),
    "Fortran order": np.asfortranarray(COUNTS),
    "not an NPY file": np.array([{}]),
}


@pytest.mark.parametrize("message", BAD_ARRAYS)
def test_arrays_that_are_no_images_of_the_sensor_are_named(message, tmp_path):
    np.save(tmp_path / "bad.npy", BAD_ARRAYS[message], allow_pickle=True)
    if message == "not an NPY file":
        (tmp_path / "bad.npy").write_bytes(b"something else")
    with pytest.raises(DistaxError, match=message) as error:
        read(tmp_path / "bad.npy")
    assert "bad.npy" in str(error.value)


@pytest.mark.parametrize("keep", [0, 50, 0.5, 0.999])
@pytest.mark.parametrize("suffix", [".npy", ".array_record"])
def test_truncated_shards_are_named(keep, suffix, tmp_path):
    path = tmp_path / f"cut{suffix}"
    np.save(path, COUNTS) if suffix == ".npy" else write_records(path, COUNTS)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if keep < 1 else keep])
    with pytest.raises(DistaxError, match=rf"cut\{suffix}: (damaged|truncated|not an NPY)"):
        read(path)


def test_a_file_that_shrinks_while_it_is_read_is_named(tmp_path):
    np.save(tmp_path / "a.npy", COUNTS)
    with open_shard(tmp_path / "a.npy", SHAPE) as shard:
        (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:300])
        with pytest.raises(DistaxError, match="truncated"):
            shard.read(0, 7)


@pytest.mark.parametrize("suffix", [".npy", ".array_record"])
def test_pipes_are_refused(suffix, tmp_path):
    os.mkfifo(path := tmp_path / f"a{suffix}")
    for look in (read, describe_shard):
        with pytest.raises(DistaxError, match=rf"a\{suffix}: is no regular file"):
            look(path)


def test_a_shard_is_described_by_its_name_and_content(tmp_path, monkeypatch):
    monkeypatch.setattr("distax.runtime.checksums._READ_AT_ONCE", 100)
    content = COUNTS.tobytes()
    (tmp_path / "a.npy").write_bytes(content)
    expected = {"name": "a.npy", "bytes": 847, "crc32": zlib.crc32(content)}
    assert describe_shard(tmp_path / "a.npy") == expected
    with pytest.raises(DistaxError, match=r"b\.npy: cannot be read"):
        describe_shard(tmp_path / "b.npy")


def small(image):
    example = tf_example_pb2.Example()
    example.features.feature["image"].bytes_list.value.append(image.tobytes())
    return example.SerializeToString()


def test_records_of_something_else_are_named(tmp_path):
    write_records(tmp_path / "a.array_record", COUNTS, lambda image: b"\xff\xff\xff")
    with pytest.raises(DistaxError, match="no TFDS example"):
        read(tmp_path / "a.array_record", (0, 7))
    write_records(tmp_path / "b.array_record", COUNTS[:, :9], small)
    with pytest.raises(DistaxError, match="no image of 11×11 px"):
        read(tmp_path / "b.array_record", (0, 7))
    write_records(tmp_path / "c.array_record", COUNTS, lambda image: b"")
    with pytest.raises(DistaxError, match="no image of 11×11 px"):
        read(tmp_path / "c.array_record", (0, 7))


@pytest.fixture
def tree(tmp_path):
    for name in ("b.npy", "a.npy", ".c.npy", "d.txt", "e.array_record-00000-of-00002", "e/f.npy"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


def names(tree, *paths):
    found = find_shards([tree / path for path in paths])
    return [str(path.relative_to(tree)) for path in found]


def test_folders_stand_for_their_shards_and_patterns_for_the_names_they_fit(tree):
    assert names(tree, "") == ["a.npy", "b.npy", "e.array_record-00000-of-00002"]
    assert names(tree, "b.npy", "a.npy") == ["b.npy", "a.npy"]
    assert names(tree, "b.npy", "", "e") == [
        "b.npy",
        "a.npy",
        "e.array_record-00000-of-00002",
        "e/f.npy",
    ]
    assert names(tree, "[ab].npy") == ["a.npy", "b.npy"]
    assert names(tree, "*") == ["a.npy", "b.npy", "e.array_record-00000-of-00002"]
    assert names(tree, "e.*") == ["e.array_record-00000-of-00002"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no.npy", "no such shard"),
        ("d.txt", "a shard is an .npy or .array_record file"),
        ("x*.npy", "has a name like this"),
        ("empty", "holds no .npy and no .array_record"),
    ],
)
def test_paths_that_name_no_shard_are_refused(path, message, tree):
    (tree / "empty").mkdir()
    with pytest.raises(DistaxError, match=message) as error:
        find_shards([tree / path])
    assert path in str(error.value)


def test_no_paths_are_refused():
    with pytest.raises(DistaxError, match="no shards given"):
        find_shards([])


def test_a_name_with_a_pattern_s_signs_is_itself(tree):
    (tree / "a[1].npy").touch()
    assert names(tree, "a[1].npy") == ["a[1].npy"]
    assert glob.glob(str(tree / "a[1].npy")) == []


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("x/a.npy", "a"),
        ("a.b.npy", "a.b"),
        ("a.array_record", "a"),
        ("csist-test.array_record-00001-of-00008", "csist-test-00001-of-00008"),
        ("gs://bucket/a.npy", "a"),
    ],
)
def test_names_of_results_are_those_of_shards_without_their_suffix(name, plain):
    assert plain_name(name) == plain_name(epath.Path(name)) == plain
