"""Files of every kind on the command line of `unmix`."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from distax import DistaxWarning
from distax.cli.main import main
from tests.pages import ROOT

INPUTS = ROOT / "tests" / "reference" / "inputs"
# The smallest windows and few targets, so that the fits compile fast.
FIT = ["--method", "refine", "--prior.max-targets", "1", "--prior.cluster", "1.0"]


def unmix(folder, *arguments):
    """Runs the command, and returns its answers."""
    output = folder / "answers.json"
    main(["unmix", *map(str, arguments), *FIT, "--json", str(output)])
    return json.loads(output.read_text())["images"]


def places(answer):
    return {(round(target["row"]), round(target["column"])) for target in answer["targets"]}


def test_bad_pixels_of_a_data_quality_extension_are_no_targets(tmp_path):
    with pytest.warns(DistaxWarning, match="pixels that the extension DQ marks are left out"):
        (masked,) = unmix(tmp_path, INPUTS / "mef.fits")
    (unmasked,) = unmix(tmp_path, INPUTS / "mef.fits", "--mask", "none")
    assert (30, 10) not in places(masked)
    assert places(unmasked) - places(masked) == {(30, 10)}


def test_bad_pixels_of_a_mask_file_are_no_targets_in_any_plane_of_a_cube(tmp_path):
    answers = unmix(tmp_path, INPUTS / "cube.fits")
    assert [answer["image"] for answer in answers] == [0, 1, 2]
    row, column = min(places(answers[0]))
    marks = np.zeros((48, 64), np.uint8)
    marks[row - 3 : row + 4, column - 3 : column + 4] = 255
    Image.fromarray(marks).save(tmp_path / "mask.png")
    masked = unmix(tmp_path, INPUTS / "cube.fits", "--mask", tmp_path / "mask.png")
    assert not any((row, column) in places(answer) for answer in masked)


def test_a_folder_is_its_files_in_natural_order(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    pixels = np.load(INPUTS / "frames.npy")
    for number in (2, 10, 1):
        Image.fromarray(pixels[0]).convert("RGB").save(folder / f"frame{number}.png")
    (folder / "notes.txt").write_text("no image")
    answers = unmix(tmp_path, folder)
    names = [answer["file"].rpartition("/")[2] for answer in answers]
    assert names == ["frame1.png", "frame2.png", "frame10.png"]
    assert answers[0]["targets"] == answers[1]["targets"] == answers[2]["targets"] != []


def test_an_empty_folder_and_a_pattern_without_a_match_leave_the_answers_of_the_others(
    tmp_path, capsys
):
    (empty := tmp_path / "empty.png").mkdir()
    np.save(good := tmp_path / "good.npy", np.load(INPUTS / "frames.npy")[0])
    files, output = [empty, good, tmp_path / "none*.npy"], tmp_path / "answers.json"
    command = ["unmix", *map(str, files), *FIT, "--json", str(output)]
    with pytest.raises(SystemExit, match="2 of 3 files could not be unmixed"):
        main(command)
    printed = capsys.readouterr().err
    assert f"{empty}: a folder without image files" in printed
    assert f"{files[2]}: no file matches this pattern" in printed
    record = json.loads(output.read_text())
    assert list(record["files"].values()) == ["failed", "finished", "failed"]
    assert [answer["file"] for answer in record["images"]] == [str(good)]
    # What the folder holds by now is new, and nothing is left of the entry for the folder itself.
    late = [empty / "late.npy", tmp_path / "none1.npy"]
    for path in late:
        path.write_bytes(good.read_bytes())
    main([*command, "--resume"])
    assert json.loads(output.read_text())["files"] == dict.fromkeys(
        map(str, [good, *late]), "finished"
    )


def test_a_name_that_is_not_utf_8_leaves_the_answers_of_the_others(tmp_path, capsys):
    (folder := tmp_path / "frames").mkdir()
    for name in (b"bad\xff.npy", b"good.npy"):
        np.save(folder / os.fsdecode(name), np.load(INPUTS / "frames.npy")[0])
    with pytest.raises(SystemExit, match="1 of 2 files could not be unmixed"):
        unmix(tmp_path, folder)
    problem = r"bad\xff.npy: the name is not UTF-8, so no output can contain it; rename the file"
    assert f"distax: {folder}/{problem}\n" in capsys.readouterr().err
    record = json.loads((tmp_path / "answers.json").read_text())
    assert record["files"] == {str(folder / "good.npy"): "finished"}
    assert [answer["file"] for answer in record["images"]] == [str(folder / "good.npy")]


def test_a_link_that_leads_to_no_file_leaves_the_answers_of_the_others(tmp_path, capsys):
    (folder := tmp_path / "frames").mkdir()
    np.save(folder / "good.npy", np.load(INPUTS / "frames.npy")[0])
    (folder / "link.npy").symlink_to(folder / "gone.npy")
    with pytest.raises(SystemExit, match="1 of 2 files could not be unmixed"):
        unmix(tmp_path, folder)
    assert f"{folder}/link.npy: cannot be read, as this link leads" in capsys.readouterr().err
    record = json.loads((tmp_path / "answers.json").read_text())
    assert list(record["files"].values()) == ["finished", "failed"]


def test_a_damaged_page_leaves_the_answers_of_the_others(tmp_path, capsys):
    tifffile = pytest.importorskip("tifffile")
    path = tmp_path / "a.tif"
    pages = np.load(INPUTS / "frames.npy")[:3]
    tifffile.imwrite(path, pages, photometric="minisblack", compression="zlib")
    with tifffile.TiffFile(path) as file:
        start = file.pages[1].dataoffsets[0]
    content = bytearray(path.read_bytes())
    content[start : start + 8] = b"damaged!"
    path.write_bytes(content)
    with pytest.raises(SystemExit, match="1 of 1 files could not be unmixed"):
        unmix(tmp_path, path)
    answers = json.loads((tmp_path / "answers.json").read_text())["images"]
    assert [answer["image"] for answer in answers] == [0, 2]
    assert f"distax: {path}: page 1: a truncated or damaged TIFF file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max-gigabytes", "0"], "max_gigabytes must be greater than 0"),
        (["--channel", "red"], "channel must be a number or mean, got 'red'"),
    ],
)
def test_options_that_cannot_be_used_are_refused_before_any_file_is_read(arguments, message):
    with pytest.raises(SystemExit, match=f"distax: {message}"):
        main(["unmix", "none.png", *arguments])


def test_colours_are_read_by_the_channel_that_is_named(tmp_path, capsys):
    frame = np.load(INPUTS / "frames.npy")[0]
    Image.fromarray(np.stack([frame, 0 * frame, frame], axis=-1)).save(tmp_path / "a.png")
    with pytest.raises(SystemExit, match="1 of 1 files could not be unmixed"):
        unmix(tmp_path, tmp_path / "a.png")
    assert "a colour image, whose 3 channels differ; choose one by --channel 0" in (
        capsys.readouterr().err
    )
    (answer,) = unmix(tmp_path, tmp_path / "a.png", "--channel", "2")
    assert answer["targets"]
