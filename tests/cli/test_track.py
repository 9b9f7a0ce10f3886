import csv
import json

import jax
import numpy as np
import pytest
from PIL import Image

from distax.cli.main import main
from distax.imaging.scenes import ScenePrior
from distax.tracking import MotionPrior, simulate
from tests.pages import ROOT

PRIOR = MotionPrior(placement=ScenePrior(max_targets=1))
# A traditional solver of the grid: without weights, and compiled in a moment.
FISTA = ("--checkpoint", "fista")


@pytest.fixture(scope="module")
def sequence(tmp_path_factory):
    """An NPY file and a TIFF of one target's frames, and its true positions."""
    folder = tmp_path_factory.mktemp("sequence")
    frames, truth = simulate(jax.random.key(2), 1, prior=PRIOR)
    pages = [Image.fromarray(frame.astype(np.uint8)) for frame in np.asarray(frames[0])]
    np.save(folder / "frames.npy", frames[0])
    pages[0].save(folder / "frames.tif", save_all=True, append_images=pages[1:])
    return folder, np.asarray(truth.position[0, :, 0])


@pytest.mark.parametrize("name", ["frames.npy", "frames.tif"])
def test_table_csv_json_and_figure_show_the_track(sequence, tmp_path, capsys, name):
    folder, truth = sequence
    options = {suffix: tmp_path / f"tracks.{suffix}" for suffix in ("json", "csv")}
    options["figure"] = tmp_path / "tracks.png"
    arguments = [word for option, path in options.items() for word in (f"--{option}", str(path))]
    main(["track", str(folder / name), *arguments])
    content = json.loads(options["json"].read_text())
    (track,) = content["tracks"]
    assert (content["assumed"]["method"], content["assumed"]["sensor"]["sigma"]) == ("refine", 0.5)
    points = track["points"]
    assert [point["frame"] for point in points] == list(range(20))
    place = np.array([[point["row"], point["column"]] for point in points])
    assert np.abs(place - truth).max() < 0.02
    velocity = [points[-1]["row_velocity"], points[-1]["column_velocity"]]
    np.testing.assert_allclose(velocity, (truth[-1] - truth[0]) / 19, atol=2e-3)
    header, *lines = csv.reader(options["csv"].read_text().splitlines())
    assert header[:4] == ["track", "frame", "row", "column"]
    assert [[float(line[2]), float(line[3])] for line in lines] == place.tolist()
    assert {line[-1] for line in lines} == {str(track["intensity"])}
    assert f"{place[0, 0]:.3f} to {place[-1, 0]:.3f}" in capsys.readouterr().out
    with Image.open(options["figure"]) as picture:
        assert np.ptp(np.asarray(picture.convert("L"))) > 200


def test_a_folder_of_frames_is_one_sequence_in_natural_order(sequence, tmp_path):
    frames = np.load(sequence[0] / "frames.npy").astype(np.uint8)
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).convert("RGB").save(folder / f"frame{number}.png")
    written = {}
    for name in (sequence[0] / "frames.npy", folder, tmp_path / "frames" / "frame*.png"):
        main(["track", str(name), "--csv", str(tmp_path / "a.csv")])
        written[name] = (tmp_path / "a.csv").read_text()
    assert len(set(written.values())) == 1


def test_whole_frames_are_refused_with_advice():
    path = ROOT / "tests" / "reference" / "inputs" / "frames.npy"
    message = r"48×64 px, the sensor has 11×11; track follows targets in such windows only: cut"
    with pytest.raises(SystemExit, match=f"distax: {path}: {message}.*by unmix"):
        main(["track", str(path), *FISTA])


def test_a_sequence_without_files_is_refused():
    with pytest.raises(SystemExit, match="distax: no image files given; name at least one"):
        main(["track"])


def test_dark_frames_hold_no_track(tmp_path, capsys):
    np.save(tmp_path / "dark.npy", np.zeros((20, 11, 11)))
    output = tmp_path / "tracks.json"
    main(["track", str(tmp_path / "dark.npy"), *FISTA, "--json", str(output)])
    assert "no track" in capsys.readouterr().out
    assert json.loads(output.read_text())["tracks"] == []


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such file"),
        (lambda path: np.save(path, np.zeros((20, 9, 9))), "9×9 px, the sensor has 11×11"),
        (lambda path: np.save(path, np.zeros((2, 3, 11, 11))), "an array of shape"),
    ],
    ids=["missing", "size", "axes"],
)
def test_files_that_are_no_sequence_are_refused(tmp_path, make, message):
    path = tmp_path / "frames.npy"
    make(path)
    with pytest.raises(SystemExit, match=f"distax: {path}: .*{message}"):
        main(["track", str(path), *FISTA, "--json", str(tmp_path / "tracks.json")])
    assert not (tmp_path / "tracks.json").exists()


def test_a_figure_that_cannot_be_drawn_is_refused_before_anything_is_read(tmp_path):
    with pytest.raises(SystemExit, match=r"distax: a\.xyz: no format of pictures"):
        main(["track", str(tmp_path / "none.npy"), "--figure", "a.xyz"])


def test_motions_beyond_the_frame_are_refused(tmp_path):
    with pytest.raises(SystemExit, match="distax: targets may move"):
        main(["track", str(tmp_path / "frames.npy"), "--speed", "2"])
