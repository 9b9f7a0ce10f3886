import json
from dataclasses import replace

import jax
import numpy as np
import pytest
from flax import nnx

from distax import DistaxError, DistaxWarning, Sensor, Unmixer, models
from distax.imaging.scenes import simulate
from distax.imaging.targets import OF_TARGETS, clear_padding
from distax.shards import FORMATS, find_shards, read_results, unmix_shards
from distax.shards.settings import describe

LENGTHS = {"a": 20, "b": 37, "c": 16}


@pytest.fixture(scope="module")
def unmixer():
    options = {"stages": 1, "channels": 4, "hidden": 8}
    model = models.create("dista", rngs=nnx.Rngs(0), **options)
    return Unmixer(model=model, threshold=20.0)


@pytest.fixture(scope="module")
def images():
    return np.asarray(simulate(jax.random.key(0), sum(LENGTHS.values()))[0])


@pytest.fixture(scope="module")
def shards(images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    ends = np.cumsum([0, *LENGTHS.values()])
    for name, start, stop in zip(LENGTHS, ends, ends[1:], strict=False):
        np.save(folder / f"{name}.npy", images[start:stop].astype(np.uint8))
    return [folder / f"{name}.npy" for name in LENGTHS]


@pytest.fixture(autouse=True)
def small_portions(monkeypatch):
    """Makes a portion of 16 images, so that shards have several, and the last is not full."""
    monkeypatch.setattr("distax.fitting.estimators._BATCHES_AT_ONCE", 1)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


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
