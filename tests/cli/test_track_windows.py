"""`distax track` with a model that answers frame f by the pixels of frame f + 1."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from distax import DistaxWarning
from distax.cli.main import main

LENGTH = 12


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """A file of one bright pixel, which is a count brighter in every frame than in the last."""
    frames = np.zeros((LENGTH, 11, 11))
    frames[:, 4, 5] = 100 + np.arange(LENGTH)
    path = tmp_path_factory.mktemp("frames") / "frames.npy"
    np.save(path, frames)
    return path


@pytest.fixture(scope="module")
def model(later):
    module, file = later
    return ["--checkpoint", str(file), "--model.module", str(module)]


def test_tracks_have_the_numbers_of_the_frames_in_the_file(frames, model, tmp_path, capsys):
    outputs = [f"--{kind}={tmp_path / f'tracks.{kind}'}" for kind in ("json", "csv")]
    main(["track", str(frames), *model, *outputs, f"--figure={tmp_path / 'tracks.png'}"])
    printed = capsys.readouterr()
    assert printed.err == (
        "distax: Later answers frames 1 to 10 of 12, counted from 0: the others have no targets\n"
    )
    assert "1 to 10" in printed.out
    content = json.loads((tmp_path / "tracks.json").read_text())
    assumed = content["assumed"]
    assert assumed["answered"] == {"first": 1, "last": 10}
    assert (assumed["method"], assumed["model"], assumed["threshold"]) == ("sequence", "Later", 60)
    assert assumed["motion"]["placement"]["max_targets"] == 3
    (track,) = content["tracks"]
    assert [point["frame"] for point in track["points"]] == list(range(1, 11))
    places = np.array([[point["row"], point["column"]] for point in track["points"]])
    np.testing.assert_allclose(places, np.tile([4.0, 5.0], (10, 1)), atol=1e-3)
    assert track["intensity"] == pytest.approx(100 + np.arange(2, 12).mean())
    _, *lines = csv.reader((tmp_path / "tracks.csv").read_text().splitlines())
    assert [int(line[1]) for line in lines] == list(range(1, 11))
    with Image.open(tmp_path / "tracks.png") as picture:
        assert np.ptp(np.asarray(picture.convert("L"))) > 200


def test_options_of_motion_and_threshold_replace_those_of_the_training(frames, model, tmp_path):
    options = ["--speed", "0.1", "--drift", "0.01", "--threshold", "112"]
    main(["track", str(frames), *model, *options, "--json", str(tmp_path / "a.json")])
    content = json.loads((tmp_path / "a.json").read_text())
    motion = content["assumed"]["motion"]
    assert (motion["speed"], motion["drift"], content["tracks"]) == (0.1, 0.01, [])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--method", "fast"], r"later\.safetensors is a model of sequences; leave --method, --se"),
        (["--prior.max-targets", "2"], r"leave --method, --sensor and --prior out"),
    ],
)
def test_options_that_the_model_has_itself_are_refused(frames, model, options, message):
    with pytest.raises(SystemExit, match=message):
        main(["track", str(frames), *model, *options])


def test_options_of_whole_frames_have_no_effect(frames, model):
    with pytest.warns(DistaxWarning, match=r"--jitter, --frame.sigma had no effect: .* windows"):
        main(["track", str(frames), *model, "--jitter=1", "--frame.sigma=1"])


def test_frames_that_the_model_cannot_take_are_named(frames, model, tmp_path):
    whole = np.load(frames)
    np.save(tmp_path / "wide.npy", np.zeros((6, 32, 32)))
    np.save(tmp_path / "short.npy", whole[:2])
    whole[3, 1, 2] = np.nan
    np.save(tmp_path / "bad.npy", whole)
    for name, message in {
        "wide": r"wide\.npy: 32×32 px, the sensor has 11×11; cut that window around each blob",
        "short": r"a sequence of 2 frames is too short: Later .* give at least 3 frames",
        "bad": r"bad\.npy: frame 3, pixel \(1, 2\) is NaN or infinite; replace bad pixels first",
    }.items():
        with pytest.raises(SystemExit, match=message) as raised:
            main(["track", str(tmp_path / f"{name}.npy"), *model])
        assert "\n" not in str(raised.value)


def test_unmix_names_the_command_for_sequences(frames, model):
    with pytest.raises(
        SystemExit, match=r"Later takes sequences, not single .*: run it by `distax"
    ):
        main(["unmix", str(frames), *model])
