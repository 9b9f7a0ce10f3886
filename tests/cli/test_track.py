import csv
import json

import jax
import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from distax import DistaxWarning
from distax.cli.main import main
from distax.imaging.scenes import ScenePrior
from distax.tracking import MotionPrior, simulate
from tests.pages import ROOT

PRIOR = MotionPrior(placement=ScenePrior(max_targets=1))
# A traditional solver of the grid: without weights, and compiled in a moment.
FISTA = ("--checkpoint", "fista")
WHOLE = ROOT / "tests" / "reference" / "inputs" / "frames.npy"


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


@pytest.fixture(scope="module")
def tracked(tmp_path_factory):
    """Tracks of six whole frames with one moving target: JSON, CSV and figure."""
    folder = tmp_path_factory.mktemp("tracked")
    options = [f"--{name}={folder / name}.{name}" for name in ("json", "csv")]
    main(["track", str(WHOLE), *options, f"--figure={folder / 'tracks.png'}"])
    return folder


def test_a_target_of_whole_frames_is_found_and_linked(tracked):
    content = json.loads((tracked / "json.json").read_text())
    (track,) = content["tracks"]
    points = track["points"]
    assert [point["frame"] for point in points] == list(range(6))
    assert all(point["detected"] for point in points)
    place = np.array([[point["row"], point["column"]] for point in points])
    np.testing.assert_allclose(place, [centroid(frame) for frame in np.load(WHOLE)], atol=0.1)
    assert max(point["row_std"] for point in points) < 0.02
    speed = np.polyfit(np.arange(6), place, 1)[0]
    velocity = [points[3]["row_velocity"], points[3]["column_velocity"]]
    np.testing.assert_allclose(velocity, speed, atol=0.01)
    assert track["trusted"] == 1.0
    assert content["camera"]["source"] == "none"
    assert [frame["image"] for frame in content["camera"]["frames"]] == list(range(6))
    assert content["assumed"]["tracker"]["speed"] == 2.0
    header, *lines = csv.reader((tracked / "csv.csv").read_text().splitlines())
    assert header[-3:] == ["camera_row", "camera_column", "intensity"]
    assert [[float(line[2]), float(line[3])] for line in lines] == place.tolist()
    with Image.open(tracked / "tracks.png") as picture:
        assert np.ptp(np.asarray(picture.convert("L"))) > 200


def test_too_few_frames_are_refused_before_they_are_unmixed(tmp_path, monkeypatch):
    monkeypatch.setattr("distax.cli.track_frames.WholeFrames._unmix", None)
    np.save(tmp_path / "three.npy", np.load(WHOLE)[:3])
    with pytest.raises(SystemExit, match="3 frames are too few: a track needs 4 detections"):
        main(["track", str(tmp_path / "three.npy")])


def centroid(frame):
    """Centroid of the counts above the background around the brightest pixel."""
    row, column = np.unravel_index(frame.argmax(), frame.shape)
    window = frame[row - 2 : row + 3, column - 2 : column + 3] - 100.0
    axis = np.arange(-2, 3)
    shift = np.array([window.sum(axis=1) @ axis, window.sum(axis=0) @ axis]) / window.sum()
    return shift + np.array([row, column])


def test_whole_frames_in_several_files_are_one_sequence(tracked, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, frame in enumerate(np.load(WHOLE)):
        Image.fromarray(frame).save(folder / f"frame{number + 7}.png")
    fits.writeto(tmp_path / "cube.fits", np.load(WHOLE))
    for path in (folder, tmp_path / "cube.fits"):
        main(["track", str(path), "--csv", str(tmp_path / "a.csv")])
        assert (tmp_path / "a.csv").read_text() == (tracked / "csv.csv").read_text()


def test_a_frame_without_known_pixels_is_named_and_a_gap(tmp_path, capsys):
    frames = np.load(WHOLE).astype(np.float32)
    frames[2] = np.nan
    np.save(tmp_path / "frames.npy", frames)
    main(["track", str(tmp_path / "frames.npy"), "--json", str(tmp_path / "a.json")])
    (track,) = json.loads((tmp_path / "a.json").read_text())["tracks"]
    assert [point["detected"] for point in track["points"]] == [True, True, False] + [True] * 3
    named = [line for line in capsys.readouterr().err.splitlines() if "image 2" in line]
    place = f"distax: {tmp_path / 'frames.npy'}: image 2 has no known pixel"
    assert named == [f"{place}; its targets count as missed"]


def test_frames_of_different_sizes_are_named(tmp_path):
    for number, width in enumerate((64, 64, 60)):
        np.save(tmp_path / f"{number}.npy", np.zeros((48, width)))
    message = rf"{tmp_path}/2.npy: image 0 has 48×60 px, the first of {tmp_path}/0.npy has 48×64"
    with pytest.raises(SystemExit, match=message):
        main(["track", str(tmp_path)])


def test_a_frame_without_background_is_named_and_is_a_gap(tmp_path, capsys):
    frames = np.load(WHOLE)
    frames[3] = 7
    np.save(tmp_path / "frames.npy", frames)
    main(["track", str(tmp_path / "frames.npy"), "--json", str(tmp_path / "a.json")])
    assert "image 3" in capsys.readouterr().err
    assert (tmp_path / "a.json").exists()


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    frames = np.load(WHOLE)
    for number in (0, 2):
        np.save(tmp_path / f"{number}.npy", frames[number])
    (tmp_path / "1.npy").write_bytes(b"nothing")
    with pytest.raises(SystemExit, match=rf"distax: {tmp_path}/1.npy: "):
        main(["track", str(tmp_path)])


def test_models_of_windows_are_refused_for_whole_frames():
    with pytest.raises(SystemExit, match="a checkpoint unmixes images of its sensor's size only"):
        main(["track", str(WHOLE), *FISTA])


def test_options_of_the_other_kind_of_images_are_named(sequence):
    with pytest.warns(DistaxWarning, match=r"--jitter, --frame.sigma had no effect: .* windows"):
        main(["track", str(sequence[0] / "frames.npy"), "--jitter=1", "--frame.sigma=1", *FISTA])


def test_the_help_tells_windows_from_whole_frames(capsys):
    with pytest.raises(SystemExit):
        main(["track", "--help"])
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "Images of any larger size are whole frames" in text


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
    np.save(tmp_path / "frames.npy", np.zeros((20, 11, 11)))
    with pytest.raises(SystemExit, match="distax: targets may move"):
        main(["track", str(tmp_path / "frames.npy"), "--speed", "2"])


@pytest.mark.parametrize(
    "option", [["--frame.best", "1"], ["--frame.min-score", "0.5"], ["--frame.trusted-only"]]
)
def test_options_that_hide_targets_from_the_camera_are_refused(option):
    with pytest.raises(SystemExit, match=f"{option[0]} would hide targets from the tracks"):
        main(["track", str(WHOLE), *option])
