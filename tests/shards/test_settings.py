"""Results that a run takes for its own, and those that it refuses."""

import json
from dataclasses import replace

import numpy as np
import pytest
from flax import nnx
from pyarrow import parquet

from distax import DistaxError, Sensor, Unmixer, models
from distax.shards import FORMATS, unmix_shards
from distax.shards.settings import describe
from tests.shards.files import contents

OTHERS = {
    r"threshold 20.0, now 30.0": lambda given: replace_estimator(given, threshold=30.0),
    r"sha256 \w+, now": lambda given: replace_estimator(
        given,
        model=models.create("dista", rngs=nnx.Rngs(1), stages=1, channels=4, hidden=8),
    ),
    r"method grid, now fast; .* more": lambda given: Unmixer(),
}


def replace_estimator(unmixer, **changes):
    return Unmixer(method=replace(unmixer.estimator, **changes))


@pytest.mark.parametrize("message", OTHERS)
def test_results_of_other_settings_are_refused(message, unmixer, shards, tmp_path):
    unmix_shards(unmixer, shards[:1], tmp_path)
    before = contents(tmp_path)
    with pytest.raises(DistaxError, match=message) as error:
        unmix_shards(OTHERS[message](unmixer), shards, tmp_path)
    assert "\n" not in str(error.value)
    assert contents(tmp_path) == before


def test_every_setting_of_a_method_is_described():
    fits = Unmixer(method="posterior", seed=3, sensor=Sensor(sigma=0.6))
    about = describe(fits, "parquet")
    assert json.loads(json.dumps(about)) == about
    assert about["sensor"]["sigma"] == 0.6
    assert about["prior"]["max_targets"] == 5
    assert about["estimator"]["seed"] == 3
    other = Unmixer(method="posterior", seed=4, sensor=Sensor(sigma=0.6))
    assert describe(other, "parquet") != about
    network = describe(Unmixer(), "parquet")
    assert len(network["estimator"]["model"]["sha256"]) == 64
    assert network["prior"] is None


def test_results_of_another_format_are_refused(unmixer, shards, tmp_path):
    unmix_shards(unmixer, shards[:1], tmp_path)
    with pytest.raises(DistaxError, match="format parquet, now array_record"):
        unmix_shards(unmixer, shards[:1], tmp_path, "array_record")


def test_results_that_cannot_be_the_shard_s_are_named(unmixer, images, shards, tmp_path):
    out, mine = tmp_path / "out", tmp_path / "a.npy"
    np.save(mine, images[:5])
    unmix_shards(unmixer, [mine], out)
    np.save(mine, images[:6])
    outcome = unmix_shards(unmixer, [mine, shards[1]], out)
    assert "holds 6 images, but" in outcome.failed.popitem()[1]
    assert outcome.done == 1


def failures(unmixer, shards, folder):
    """Resumes a run, and returns the failures; no file changes."""
    before = contents(folder)
    outcome = unmix_shards(unmixer, shards, folder)
    assert outcome.images == 0
    assert outcome.done + len(outcome.failed) == len(shards)
    assert contents(folder) == before
    lines = {path.name: text for path, text in outcome.failed.items()}
    for name, line in lines.items():
        assert line.startswith((str(shards[0].parent / name), str(folder / name[0])))
        assert "delete" in line
        assert "\n" not in line
    return lines


def test_results_that_were_exchanged_are_refused(unmixer, images, tmp_path):
    shards, out = [tmp_path / "a.npy", tmp_path / "b.npy"], tmp_path / "out"
    for number, shard in enumerate(shards):
        np.save(shard, images[number : number + 5])
    unmix_shards(unmixer, shards, out)
    (out / "a.parquet").rename(out / "x")
    (out / "b.parquet").rename(out / "a.parquet")
    (out / "x").rename(out / "b.parquet")
    lines = failures(unmixer, shards, out)
    assert set(lines) == {"a.npy", "b.npy"}
    assert f"{out / 'a.parquet'} has results of another shard" in lines["a.npy"]
    assert "(shard.name b.npy, now a.npy; shard.crc32 " in lines["a.npy"]


def test_results_of_a_shard_that_changed_are_refused(unmixer, shards, images, tmp_path):
    mine, out = tmp_path / "a.npy", tmp_path / "out"
    np.save(mine, images[:5])
    unmix_shards(unmixer, [mine], out)
    assert unmix_shards(unmixer, [mine], out).done == 1
    (tmp_path / "moved").mkdir()
    moved = mine.rename(tmp_path / "moved" / "a.npy")
    assert unmix_shards(unmixer, [moved], out).done == 1
    np.save(mine, images[1:6])
    (line,) = failures(unmixer, [mine], out).values()
    assert line.startswith(f"{mine}: {out / 'a.parquet'} has results of another shard")
    assert "(shard.crc32 " in line
    np.save(mine, images[:5].astype(np.uint8))
    (line,) = failures(unmixer, [mine], out).values()
    assert "(shard.bytes 2548, now 733; shard.crc32 " in line
    (out / "a.parquet").unlink()
    assert unmix_shards(unmixer, [mine], out).images == 5


def test_results_of_other_settings_in_a_marked_folder_are_refused(
    unmixer, shards, finished, tmp_path
):
    other = replace_estimator(unmixer, threshold=30.0)
    unmix_shards(other, shards[:1], tmp_path / "other")
    (tmp_path / "other" / "a.parquet").replace(finished / "a.parquet")
    (line,) = failures(unmixer, shards, finished).values()
    assert "of other settings (estimator.threshold 30.0, now 20.0)" in line


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_folder_that_lost_its_settings_takes_only_those_of_its_results(
    file_format, unmixer, shards, tmp_path
):
    unmix_shards(unmixer, shards, tmp_path, file_format)
    whole = contents(tmp_path)
    (tmp_path / "_settings.json").unlink()
    left = contents(tmp_path)
    other = replace_estimator(unmixer, threshold=30.0)
    with pytest.raises(DistaxError, match=r"a\.\w+: holds .*threshold 20.0, now 30.0") as error:
        unmix_shards(other, shards, tmp_path, file_format)
    assert "\n" not in str(error.value)
    assert contents(tmp_path) == left
    assert unmix_shards(unmixer, shards, tmp_path, file_format).images == 0
    assert contents(tmp_path) == whole


CHANGES = {
    "damaged": lambda path: path.write_bytes(path.read_bytes()[:-20]),
    "wrong checksum": lambda path: parquet.write_table(parquet.read_table(path), path),
    "stands in the place of": lambda path: parquet.write_table(
        parquet.read_table(path).take([0] * 20), path
    ),
    "is no file of answers": lambda path: parquet.write_table(
        parquet.read_table(path).select(["image"]).replace_schema_metadata({}), path
    ),
}


@pytest.mark.parametrize("message", CHANGES)
def test_files_that_are_no_results_are_kept_and_named(message, unmixer, shards, finished):
    CHANGES[message](finished / "a.parquet")
    lines = failures(unmixer, shards, finished)
    assert set(lines) == {"a.npy"}
    assert message in lines["a.npy"]
    assert str(finished / "a.parquet") in lines["a.npy"]
