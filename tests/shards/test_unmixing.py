import os

import jax
import numpy as np
import pytest

from distax import DistaxError, DistaxWarning, Sensor, Unmixer
from distax.imaging.scenes import simulate
from distax.imaging.targets import OF_TARGETS, clear_padding
from distax.shards import FORMATS, find_shards, portions, read_results, unmix_shards
from tests.shards.files import LENGTHS, contents


@pytest.fixture(autouse=True)
def small_portions(monkeypatch):
    """Makes a portion of 16 images, so that shards have several, and the last is not full."""
    monkeypatch.setattr("distax.fitting.estimators._BATCHES_AT_ONCE", 1)


def same(read, found):
    """Compares what was read with an unmixer's answers, padding aside."""
    expected = jax.tree.map(np.array, clear_padding(found))
    if expected.covariance is not None:
        # Only one of the two is stored, and rounding makes them differ.
        expected.covariance[..., 1, 0] = expected.covariance[..., 0, 1]
    for image in range(len(expected.mask)):
        old, new = np.flatnonzero(expected.mask[image]), np.flatnonzero(read.mask[image])
        assert len(old) == len(new)
        for name in OF_TARGETS:
            if (value := getattr(expected, name)) is not None:
                assert np.array_equal(getattr(read, name)[image][new], value[image][old]), name
    for name in ("count_probability", "misfit", "trusted"):
        value = getattr(expected, name)
        assert (value is None) == (getattr(read, name) is None)
        assert value is None or np.array_equal(getattr(read, name), value)


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("method", ["grid", "fast"])
def test_answers_are_those_of_the_unmixer(method, file_format, unmixer, images, shards, tmp_path):
    unmixer = unmixer if method == "grid" else Unmixer()
    seen = []

    def advance(outcome):
        seen.append((outcome.done, outcome.images))

    outcome = unmix_shards(unmixer, shards, tmp_path, file_format, advance)
    assert (outcome.shards, outcome.done, outcome.images, outcome.failed) == (3, 3, 73, {})
    assert seen == [(0, 16), (0, 20), (1, 36), (1, 52), (1, 57), (2, 73)]
    results = dict(read_results(tmp_path))
    assert list(results) == list(LENGTHS)
    found = unmixer(images)
    ends = np.cumsum([0, *LENGTHS.values()])
    for read, start, stop in zip(results.values(), ends, ends[1:], strict=False):
        same(read, jax.tree.map(lambda leaf, a=start, b=stop: leaf[a:b], found))


def test_images_that_cannot_be_unmixed_are_told_of_and_have_no_targets(unmixer, images, tmp_path):
    damaged = images[:40].copy()
    damaged[[3, 35], 0, 0] = np.nan, -1
    np.save(tmp_path / "bad.npy", damaged)
    with pytest.warns(DistaxWarning, match=r"bad.npy: 2 of 40 images not unmixed.* image 3: pixel"):
        unmix_shards(unmixer, [tmp_path / "bad.npy"], tmp_path / "out")
    ((_, read),) = read_results(tmp_path / "out")
    with pytest.warns(DistaxWarning, match="image 3.*image 35"):
        same(read, unmixer(damaged))
    assert not read.mask[[3, 35]].any()
    assert np.flatnonzero(~read.trusted).tolist() == [3, 35]


@pytest.mark.parametrize("field", ["position", "intensity"])
def test_answers_that_are_not_finite_are_problems(field, unmixer, shards, tmp_path, monkeypatch):
    def unmix(device, unmixer, images):
        found = jax.tree.map(np.array, portions.unmix_on(device, unmixer, images))
        found.mask[2, 0] = True
        getattr(found, field)[2, 0] = np.nan
        found.position[3][~found.mask[3]] = np.nan
        return found

    monkeypatch.setattr("distax.shards.unmixing.unmix_on", unmix)
    with pytest.warns(DistaxWarning, match=r"a\.npy: 2 of 20 .* image 2: the method gave a pos"):
        unmix_shards(unmixer, shards[:1], tmp_path)
    ((_, read),) = read_results(tmp_path)
    assert np.flatnonzero(~read.trusted).tolist() == [2, 18]
    assert not read.mask[[2, 18]].any()
    assert read.mask[3].any()


class StopError(Exception):
    pass


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("portions", [1, 2, 3, 5])
def test_a_run_that_stops_leaves_whole_files_and_is_resumed(
    portions, file_format, unmixer, shards, tmp_path
):
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    unmix_shards(unmixer, shards, whole, file_format)
    calls = []

    def stop(outcome):
        calls.append(outcome)
        if len(calls) == portions:
            raise StopError

    with pytest.raises(StopError):
        unmix_shards(unmixer, shards, resumed, file_format, stop)
    left = contents(resumed)
    assert left.items() < contents(whole).items()
    assert len(left) == 1 + [0, 0, 0, 1, 1, 1][portions]
    outcome = unmix_shards(unmixer, shards, resumed, file_format)
    assert (outcome.done, outcome.images) == (3, 73 - 20 * (len(left) - 1))
    assert contents(resumed) == contents(whole)
    again = unmix_shards(unmixer, shards, resumed, file_format)
    assert (again.done, again.images) == (3, 0)


def test_shards_that_cannot_be_read_are_named_and_the_others_are_done(unmixer, shards, tmp_path):
    cut, lost = tmp_path / "cut.npy", tmp_path / "empty.npy"
    cut.write_bytes(shards[0].read_bytes()[:2000])
    np.save(lost, np.zeros((0, 11, 11), np.uint8))
    outcome = unmix_shards(unmixer, [cut, *shards[:1], lost, *shards[1:]], tmp_path / "out")
    assert {path.name: text for path, text in outcome.failed.items()} == {
        "cut.npy": f"{cut}: truncated, as it should hold 20 images; copy it again",
        "empty.npy": f"{lost}: holds no images",
    }
    assert (outcome.shards, outcome.done, outcome.images) == (5, 3, 73)
    assert set(contents(tmp_path / "out")) == {*map("{}.parquet".format, LENGTHS), "_settings.json"}


def test_a_shard_that_fails_after_some_portions_has_no_results(
    unmixer, shards, tmp_path, monkeypatch
):
    from distax.shards.sources import NpyShard

    read = NpyShard.read

    def fail(self, start, stop):
        if self.path.name == "b.npy" and start == 32:
            raise DistaxError("b.npy: gone")
        return read(self, start, stop)

    monkeypatch.setattr(NpyShard, "read", fail)
    outcome = unmix_shards(unmixer, shards, tmp_path)
    assert list(outcome.failed.values()) == ["b.npy: gone"]
    assert set(contents(tmp_path)) == {"a.parquet", "c.parquet", "_settings.json"}


def test_pipes_are_no_shards_and_no_results(unmixer, shards, finished, tmp_path):
    os.mkfifo(tmp_path / "d.npy")
    os.mkfifo(tmp_path / "e.array_record")
    (finished / "a.parquet").unlink()
    os.mkfifo(finished / "a.parquet")
    pipes = [tmp_path / "d.npy", tmp_path / "e.array_record"]
    outcome = unmix_shards(unmixer, [*pipes, *shards], finished)
    assert outcome.done == 2
    named = [*pipes, finished / "a.parquet"]
    assert [*outcome.failed.values()] == [
        f"{path}: is no regular file; write its content to one" for path in named
    ]


def test_a_folder_that_is_a_link_to_itself_or_has_no_name_is_refused(unmixer, shards, tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(DistaxError, match=r"loop/_settings\.json: cannot be written \(") as error:
        unmix_shards(unmixer, shards, tmp_path / "loop")
    assert "\n" not in str(error.value)
    with pytest.raises(DistaxError, match="the folder of the results has no name"):
        unmix_shards(unmixer, shards, "")


def test_places_where_results_would_meet_others_are_refused(unmixer, shards, tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((1, 11, 11)))
    with pytest.raises(DistaxError, match=r"a\.npy and .*a\.npy would both have their results"):
        unmix_shards(unmixer, [shards[0], tmp_path / "a.npy"], tmp_path / "out")
    with pytest.raises(DistaxError, match="name another folder for their results"):
        unmix_shards(unmixer, shards, shards[0].parent)
    with pytest.raises(DistaxError, match="is not a folder"):
        unmix_shards(unmixer, shards, tmp_path / "a.npy")
    with pytest.raises(DistaxError, match="unknown format 'csv'"):
        unmix_shards(unmixer, shards, tmp_path / "out", "csv")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "_settings.json").write_text("{")
    with pytest.raises(DistaxError, match=r"_settings.json: cannot be read"):
        unmix_shards(unmixer, shards, tmp_path / "out")


def test_a_wrong_sensor_is_warned_of_once(tmp_path):
    images, _ = simulate(jax.random.key(1), 40, Sensor(sigma=0.8))
    for name, part in {"a": images[:20], "b": images[20:]}.items():
        np.save(tmp_path / f"{name}.npy", part)
    shards = find_shards([tmp_path])
    with pytest.warns(DistaxWarning, match="median misfit of 40 images") as warned:
        unmix_shards(Unmixer(), shards, tmp_path / "out")
    assert len(warned) == 1
