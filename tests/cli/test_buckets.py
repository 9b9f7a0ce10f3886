"""Commands whose inputs and outputs are in buckets."""

import io
import json
import re

import numpy as np
import pytest
from matplotlib.image import imread

from distax import DistaxError
from distax.cli.main import main
from distax.training import checkpoints
from distax.weights import storage
from tests.emulator import BUCKET

RUN = "gs://bucket/run"


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """The sample files of the commands."""
    folder = tmp_path_factory.mktemp("samples")
    main(["samples", "--out", str(folder)])
    return folder


@pytest.fixture
def stored(samples, emulator, place):
    """Stores samples in a folder of the bucket; returns their names."""

    def store(*names):
        for name in names:
            content = (samples / name).read_bytes()
            emulator.write(f"{place}/{name}".removeprefix(f"gs://{BUCKET}/"), content)
        return [f"{place}/{name}" for name in names]

    return store


@pytest.fixture
def written(emulator, place):
    """Returns the content of an object in the folder of the test."""
    return lambda name: emulator.read(f"{place}/{name}".removeprefix(f"gs://{BUCKET}/"))


def with_local_names(text, place, folder):
    return text.decode().replace(place, str(folder))


def test_unmix_in_a_bucket_answers_as_on_disk(samples, stored, written, place, tmp_path, capsys):
    names = ("blob1.png", "blobs.npy", "frame.fits", "camera.toml")
    *files, camera = stored(*names)
    outputs = ("json", "csv")
    options = ["--method", "refine", "--sensor"]
    main(["unmix", *files[:2], *options, camera, *(f"--{one}={place}/a.{one}" for one in outputs)])
    on_disk = [str(samples / name) for name in names]
    to_disk = [f"--{one}={tmp_path}/a.{one}" for one in outputs]
    main(["unmix", *on_disk[:2], *options, on_disk[3], *to_disk])
    content = with_local_names(written("a.csv"), place, samples)
    assert content == (tmp_path / "a.csv").read_text()
    record = json.loads((tmp_path / "a.json").read_text())
    # The names differ, and so does their checksum. Only files on disk have one of their own.
    assert [*record.pop("contents"), type(record.pop("checksum"))] == [*on_disk[:2], int]
    for resumed in (False, True):
        if resumed:
            main(["unmix", *files[:2], *options, camera, f"--json={place}/a.json", "--resume"])
        there = json.loads(with_local_names(written("a.json"), place, samples))
        assert (there.pop("contents"), type(there.pop("checksum"))) == ({}, int)
        assert there == record


def test_every_output_of_unmix_can_be_in_a_bucket(stored, written, place):
    from astropy.io import fits

    (frame,) = stored("frame.fits")
    suffixes = {"table": "ecsv", "residual": "fits", "report": "html", "figure": "png"}
    outputs = [f"--{name}={place}/{name}.{suffix}" for name, suffix in suffixes.items()]
    main(["unmix", frame, "--prior.max-targets", "2", "--prior.cluster", "1.0", *outputs])
    assert written("table.ecsv").startswith(b"# %ECSV")
    with fits.open(io.BytesIO(written("residual.fits"))) as hdus:
        assert hdus[0].data.shape == (128, 160)
    assert written("report.html").startswith(b"<!DOCTYPE html>")
    assert imread(io.BytesIO(written("figure.png"))).ndim == 3


def test_images_in_a_bucket_that_cannot_be_used_are_named(stored, written, place, emulator, capsys):
    (good,) = stored("blob1.png")
    emulator.write(f"{place}/half.npy".removeprefix(f"gs://{BUCKET}/"), b"\x93NUMPY")
    with pytest.raises(SystemExit, match="2 of 3 files could not be unmixed"):
        main(["unmix", good, f"{place}/half.npy", f"{place}/none.fits", f"--json={place}/a.json"])
    errors = capsys.readouterr().err
    assert re.search(
        rf"^distax: {place}/half\.npy: .*; copy it again, or export it anew$", errors, re.M
    )
    assert f"distax: {place}/none.fits: no such file" in errors
    states = json.loads(written("a.json"))["files"]
    assert list(states.values()) == ["finished", "failed", "failed"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["unmix", "a.png", "--csv", "gs://none/a.csv"],
            "gs://none/a.csv: there is no bucket none",
        ),
        (["train", "--run-dir", "gs://none/run"], "gs://none/run: there is no bucket none"),
        (["train", "--resume", "gs://none/run"], "gs://none/run: there is no bucket none"),
        (["evaluate", "--checkpoint", "gs://none/run"], "gs://none/run: there is no bucket none"),
        (
            ["evaluate", "--sensor", "gs://bucket/none.toml"],
            "gs://bucket/none.toml: cannot be read",
        ),
        (["train", "--config", "gs://bucket/none.toml"], "gs://bucket/none.toml: cannot be read"),
        (["build-dataset", "--data-dir", "gs://none/data"], "there is no bucket none"),
        (["unmix", "s3://bucket/a.png"], "s3://bucket/a.png: s3:// is not known"),
        (["unmix", "gs:///a.png"], "gs:///a.png: names no bucket"),
        (["train", "--dump-hlo", "gs://bucket/hlo"], "--dump-hlo: gs://bucket/hlo is in a bucket"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_place_that_cannot_be_used_is_told_in_one_line(emulator, arguments, message):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    error = str(caught.value)
    assert error.startswith("distax: ")
    assert message in error
    assert "\n" not in error


def test_weights_and_scores_in_a_bucket(tiny_run, place, written, tmp_path):
    weights = f"{place}/tiny.safetensors"
    main(["convert", str(tiny_run), weights])
    main(["convert", str(tiny_run), str(tmp_path / "tiny.safetensors")])
    assert written("tiny.safetensors") == (tmp_path / "tiny.safetensors").read_bytes()
    scores = f"--json={place}/scores.json", f"--figure={place}/scores.png"
    main(["evaluate", "--checkpoint", weights, "--images", "40", *scores])
    main(["evaluate", "--checkpoint", str(tiny_run), "--images", "40", f"--json={tmp_path}/b.json"])
    scored = json.loads(written("scores.json")), json.loads((tmp_path / "b.json").read_text())
    assert scored[0].pop("checkpoint") == weights
    assert scored[1].pop("checkpoint") == str(tiny_run)
    assert scored[0] == scored[1]
    assert imread(io.BytesIO(written("scores.png"))).ndim == 3


def test_a_sensor_is_measured_in_a_bucket(stored, written, place, samples, tmp_path):
    (isolated,) = stored("isolated.npy")
    main(["calibrate", isolated, "--out", f"{place}/camera.toml", "--json", f"{place}/camera.json"])
    local = tmp_path / "camera.toml"
    main(["calibrate", str(samples / "isolated.npy"), "--out", str(local)])
    assert written("camera.toml") == local.read_bytes()
    assert np.isfinite(json.loads(written("camera.json"))["sensor"]["sigma"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", "--checkpoint", RUN],
        ["unmix", "a.png", "--checkpoint", RUN],
        ["track", "a.npy", "--checkpoint", RUN],
        ["export", "a.distax", "--checkpoint", RUN],
        ["quickstart", "--checkpoint", RUN],
        ["convert", RUN, "a.safetensors"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_run_in_a_bucket_is_asked_for_by_its_whole_name(arguments, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", np.ones((3, 11, 11), np.uint8))

    def asked(run):
        raise DistaxError(f"asked for {run}")

    monkeypatch.setattr(checkpoints, "load_model", asked)
    with pytest.raises(SystemExit, match=f"distax: asked for {RUN}$"):
        main(arguments)


def test_a_run_is_converted_into_a_bucket(tiny_run, monkeypatch):
    def asked(run):
        raise DistaxError(f"asked for {run}")

    monkeypatch.setattr(checkpoints, "holds_run", asked)
    with pytest.raises(SystemExit, match=f"distax: asked for {RUN}$"):
        main(["convert", str(tiny_run), RUN])


def test_weights_are_exported_from_a_bucket(tmp_path, monkeypatch):
    asked = []

    def load(run):
        asked.append(str(run))
        raise DistaxError("not there")

    monkeypatch.setattr(storage, "load_model", load)
    with pytest.raises(DistaxError, match="not there"):
        storage.export(RUN, tmp_path / "a.safetensors")
    assert asked == [RUN]
