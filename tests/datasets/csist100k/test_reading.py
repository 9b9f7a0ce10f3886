"""Opening and reading: every access gives the same records, and damage is reported."""

import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

import distax
from distax.datasets import csist100k

DAMAGED = r"is damaged( \(.*\))?: delete that folder and run"
SHARD = "csist100k-train.array_record-00000-of-00001"


@pytest.fixture
def copy(simulated_dir, simulated_name, tmp_path):
    """A copy of the built dataset to damage: its data directory and its folder."""
    shutil.copytree(simulated_dir / "csist100k", tmp_path / "csist100k")
    return tmp_path, tmp_path / "csist100k" / simulated_name / "1.0.0"


def test_whole_split_is_its_records(simulated_dir, simulated_name):
    source = csist100k.open_split(simulated_name, "train", simulated_dir)
    images, targets = csist100k.read_split(source)
    assert images.shape == (1040, 11, 11)
    assert images.dtype == np.float32
    assert targets.mask.shape == (1040, 5)
    for index in (0, 999, 1000, 1039):
        image, truth = csist100k.record_to_example(source[index])
        np.testing.assert_array_equal(image, images[index])
        assert image.dtype == truth.position.dtype == truth.intensity.dtype == np.float32
        assert truth.mask.sum() == source[index]["count"]
        for name in ("position", "intensity", "mask", "score"):
            value = getattr(truth, name)
            assert type(value) is np.ndarray
            np.testing.assert_array_equal(value, getattr(targets, name)[index])


def test_pickled_source_reads_the_same(simulated_dir, simulated_name, released_dir):
    for name, folder in ((simulated_name, simulated_dir), ("released", released_dir)):
        source = csist100k.open_split(name, "test", folder)
        again = pickle.loads(pickle.dumps(source))
        assert len(again) == len(source)
        np.testing.assert_array_equal(again[7]["image"], source[7]["image"])


def test_part_of_a_split(simulated_dir, simulated_name):
    part = csist100k.open_split(simulated_name, "train[100:110]", simulated_dir)
    assert [record["id"] for record in part] == list(range(100, 110))


def test_tfds_itself_finds_and_reads_it(simulated_dir, simulated_name):
    source = tfds.data_source(
        f"csist100k/{simulated_name}", split="validation", data_dir=simulated_dir
    )
    assert [record["id"] for record in source] == list(range(30))


def test_building_again_reuses_the_files(copy, simulated_name):
    data_dir, folder = copy
    before = (folder / SHARD).stat().st_mtime_ns
    assert csist100k.build(simulated_name, data_dir) == folder
    assert (folder / SHARD).stat().st_mtime_ns == before


def test_not_built(tmp_path):
    with pytest.raises(distax.DistaxError, match="`distax build-dataset simulated --data-dir"):
        csist100k.open_split("simulated", "train", tmp_path)


@pytest.mark.parametrize("split", ["val", "", "train[:0]", "train[a:]"])
def test_unknown_split(simulated_dir, simulated_name, split):
    with pytest.raises(distax.DistaxError, match="known are train, validation, test"):
        csist100k.open_split(simulated_name, split, simulated_dir)


def cut(folder):
    shard = folder / SHARD
    shard.write_bytes(shard.read_bytes()[:-70_000])


def lengthen(folder):
    info = folder / "dataset_info.json"
    info.write_text(info.read_text().replace('"1040"', '"1041"'))


def describe(before, after):
    def change(folder):
        info = folder / "dataset_info.json"
        assert before in info.read_text()
        info.write_text(info.read_text().replace(before, after))

    return change


DAMAGE = {
    "fewer records": describe('"1040"', '"40"'),
    "no records": describe('"1040"', '"0"'),
    "another configuration": describe('"configName": "', '"configName": "other_'),
    "files of another split": describe(
        "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
        "{DATASET}-test.{FILEFORMAT}-{SHARD_X_OF_Y}",
    ),
    "shard cut short": cut,
    "shard empty": lambda folder: (folder / SHARD).write_bytes(b""),
    "shard missing": lambda folder: (folder / SHARD).unlink(),
    "a record missing": lengthen,
    "no description": lambda folder: (folder / "dataset_info.json").unlink(),
    "broken description": lambda folder: (folder / "dataset_info.json").write_text('{"name'),
    "nothing": lambda folder: [path.unlink() for path in folder.iterdir()],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_noticed_on_opening(copy, simulated_name, damage):
    data_dir, folder = copy
    DAMAGE[damage](folder)
    for use in (
        lambda: csist100k.open_split(simulated_name, "train", data_dir),
        lambda: csist100k.build(simulated_name, data_dir),
    ):
        with pytest.raises(
            distax.DistaxError, match=r"is damaged( \(.*\))?: delete that folder and run"
        ) as e:
            use()
        assert str(folder) in str(e.value)
        assert "\n" not in str(e.value)


def test_damage_inside_is_noticed_on_reading(copy, simulated_name):
    data_dir, folder = copy
    content = bytearray((folder / SHARD).read_bytes())
    content[50_000:50_010] = bytes(10)
    (folder / SHARD).write_bytes(content)
    source = csist100k.open_split(simulated_name, "train", data_dir)
    with pytest.raises(distax.DistaxError, match=r"records 0 to 999 of train in .* cannot be read"):
        csist100k.read_split(source)


def test_unwritable_folder(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(distax.DistaxError, match="simulated_seed0_1_1_1: cannot be written"):
        csist100k.build("simulated_seed0_1_1_1", tmp_path / "file")


def test_neither_tensorflow_nor_an_early_tfds_is_imported(tmp_path):
    """In a fresh process that builds and reads; standard output stays empty."""
    code = """
import sys
import distax, distax.datasets
assert "tensorflow_datasets" not in sys.modules
from distax.datasets import csist100k
csist100k.build("simulated_seed0_2_1_1", sys.argv[1])
source = csist100k.open_split("simulated_seed0_2_1_1", "train", sys.argv[1])
images, _ = csist100k.read_split(source)
assert images.shape == (2, 11, 11)
assert "tensorflow" not in sys.modules
"""
    result = subprocess.run(
        [sys.executable, "-c", code, tmp_path],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""


RECORD = {
    "image": np.zeros((11, 11), np.uint8),
    "position": np.array([[5, 5.5], [6, 6], [0, 0], [0, 0], [0, 0]], np.float32),
    "intensity": np.array([230, 240, 0, 0, 0], np.float32),
    "count": 2,
    "id": 7,
}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        *(("position", [[bad, 5]] * 5, "target outside") for bad in (np.nan, np.inf, -0.6, 50)),
        *(
            ("intensity", [230, bad], "not between 0 and 1e")
            for bad in (np.nan, np.inf, 0, -5, 3e38)
        ),
        *(("count", bad, "has not 1 to 5 targets") for bad in (0, -1, 6, 2**63 - 1)),
        ("count", None, "records have no number of targets"),
        ("count", 2.0, "records have no number of targets"),
    ],
)
def test_a_truth_that_cannot_be_is_refused_alone_and_among_others(name, value, message):
    csist100k.record_to_example(RECORD)
    if name == "intensity":
        value = np.resize(np.array(value, np.float32), 5)
    bad = RECORD | {name: value, "id": 8}
    both = {key: np.stack([RECORD[key], bad[key]]) for key in RECORD}
    for record in (bad, both):
        with pytest.raises(distax.DistaxError, match=message) as error:
            csist100k.record_to_example(record)
        assert value is None or name == "count" or "of id 8" in str(error.value)


def test_padding_is_no_target():
    padded = RECORD["position"].copy()
    padded[2:] = np.nan
    _, truth = csist100k.record_to_example(RECORD | {"position": padded})
    assert truth.mask.tolist() == [True, True, False, False, False]


def test_a_folder_s_name_may_hold_braces(copy, simulated_name):
    data_dir, _ = copy
    braces = data_dir / "{a}"
    braces.mkdir()
    (data_dir / "csist100k").rename(braces / "csist100k")
    lengthen(braces / "csist100k" / simulated_name / "1.0.0")
    with pytest.raises(distax.DistaxError, match=r"\{a\}.* is damaged \(.*holds 1040 records\)"):
        csist100k.open_split(simulated_name, "train", braces)


def test_a_file_in_place_of_the_dataset_is_named(tmp_path):
    place = tmp_path / "csist100k" / "simulated_seed1_1_1_1" / "1.0.0"
    place.parent.mkdir(parents=True)
    place.touch()
    with pytest.raises(distax.DistaxError, match=r"1.0.0: is no folder, as a dataset must be"):
        csist100k.build("simulated_seed1_1_1_1", tmp_path)
