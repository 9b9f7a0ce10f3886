"""The reference tree, read as the original toolkit reads it, and trees that cannot be used."""

import shutil
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import distax
from distax import DistaxError
from distax.cli.main import main
from distax.datasets import seqcsist
from distax.datasets.seqcsist.released import find_sequences, read_records
from distax.imaging.grid import rasterize

REFERENCE = Path(__file__).parents[2] / "reference/seqcsist"
LAYOUT = REFERENCE / "layout"
FOLDERS = {"train": "train", "validation": "val", "test": "test"}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("sequences")
    seqcsist.build("released", data_dir, LAYOUT)
    return data_dir


@pytest.fixture
def tree(tmp_path):
    """A copy of the reference tree to damage."""
    return Path(shutil.copytree(LAYOUT, tmp_path / "tree"))


@pytest.mark.parametrize("split", FOLDERS)
def test_records_are_those_of_the_original_reader(built, split):
    with np.load(REFERENCE / "layout_expected.npz") as file:
        expected = {
            name: file[f"{FOLDERS[split]}_{name}"]
            for name in ("frames", "labels", "targets", "count")
        }
    source = seqcsist.open_split("released", split, built)
    assert [record["id"] for record in source] == list(range(len(expected["frames"])))
    frames, targets = seqcsist.read_split(source)
    np.testing.assert_array_equal(frames.reshape(expected["frames"].shape), expected["frames"])
    np.testing.assert_array_equal(targets.count, np.repeat(expected["count"][:, None], 20, 1))
    for slot in range(5):
        present = slot < expected["count"]
        truth = expected["targets"][present, :, slot].astype(np.float32)
        np.testing.assert_array_equal(targets.position[present, :, slot], truth[..., :2])
        np.testing.assert_array_equal(targets.intensity[present, :, slot], truth[..., 2])
    # Of two targets on one node the original's label keeps the later, distax's the sum.
    targets = jax.tree.map(jnp.asarray, targets)
    ones = replace(targets, intensity=jnp.ones_like(targets.intensity))
    labels, number = (rasterize(each, distax.Sensor(), 3) for each in (targets, ones))
    alone = np.asarray(number).reshape(expected["labels"].shape) < 1.5
    assert alone.sum() > 0.99 * alone.size
    labels = np.asarray(labels).reshape(alone.shape)
    np.testing.assert_allclose(labels[alone], expected["labels"][alone])


@pytest.mark.parametrize("split", FOLDERS)
def test_the_imaging_model_explains_the_frames(built, split):
    """Rendering the annotated targets gives the frames, so xc is indeed the row."""
    frames, targets = seqcsist.read_split(seqcsist.open_split("released", split, built))
    ideal = distax.render(jax.tree.map(jnp.asarray, targets), distax.Sensor())
    assert np.abs(np.minimum(ideal, 255) - frames).max() <= 0.501  # rounding


def test_frames_follow_the_numbers_in_their_names(tree):
    for pair in find_sequences(tree, "train")[1]:
        assert pair.image.name == f"image_{pair.identifier}.png"
        assert pair.annotation.name == f"COS{pair.identifier}.xml"
    identifiers = [[pair.identifier for pair in part] for part in find_sequences(tree, "train")]
    assert identifiers == [list(range(20)), list(range(20, 40))]


def test_the_command_builds_it(tmp_path, capsys):
    options = ["--manual-dir", str(LAYOUT), "--data-dir", str(tmp_path)]
    main(["build-dataset", "seqcsist", "--released", *options])
    folder = tmp_path / "seqcsist/released/2.0.0"
    assert capsys.readouterr().out.splitlines() == [
        f"{folder}: {split}, {size} sequences"
        for split, size in (("train", 2), ("validation", 1), ("test", 1))
    ]
    with pytest.raises(SystemExit, match="seqcsist/simulated is not the released dataset"):
        main(["build-dataset", "seqcsist/simulated", "--released", *options])


def refuse(tree, tmp_path, message):
    with pytest.raises(DistaxError, match=message) as raised:
        seqcsist.build("released", tmp_path / "data", tree)
    assert "\n" not in str(raised.value)
    assert not list((tmp_path / "data").glob("seqcsist/released/*"))


def test_a_split_may_begin_at_any_number(tree):
    folder = tree / "track_5000_20/val"
    for path in sorted(folder.glob("*/*"), reverse=True):
        number = int("".join(filter(str.isdigit, path.stem)))
        text = path.read_bytes().replace(f"COS{number}<".encode(), f"COS{number + 70}<".encode())
        path.unlink()
        path.with_name(path.name.replace(str(number), str(number + 70))).write_bytes(text)
    (sequence,) = find_sequences(tree, "validation")
    assert [pair.identifier for pair in sequence] == list(range(70, 90))
    (_, record), *_ = read_records([sequence])
    assert record["id"] == 0


def test_a_hole_in_a_sequence(tree, tmp_path):
    (tree / "track_5000_20/train/image/image_27.png").unlink()
    (tree / "track_5000_20/train/annotation/COS27.xml").unlink()
    refuse(tree, tmp_path, r"train: image_27\.png and its annotation are missing, frame 7 of seq")


def test_an_annotation_that_is_missing(tree, tmp_path):
    (tree / "track_5000_20/train/annotation/COS27.xml").unlink()
    refuse(tree, tmp_path, r"train/image/image_27\.png has no annotation COS27\.xml")


def test_a_sequence_that_is_too_short(tree, tmp_path):
    (tree / "track_5000_20/test/image/image_19.png").unlink()
    (tree / "track_5000_20/test/annotation/COS19.xml").unlink()
    refuse(tree, tmp_path, r"test: 19 frames do not divide into sequences of 20, the last has only")


def test_a_number_of_targets_that_changes(tree, tmp_path):
    path = tree / "track_5000_20/test/annotation/COS7.xml"
    text = path.read_text()
    first, last = text.index("\t<object>"), text.index("</object>") + len("</object>\n")
    path.write_text(text[:first] + text[last:])
    refuse(tree, tmp_path, r"COS7\.xml has 2 targets, the first frame of its sequence COS0\.xml")


def test_frames_out_of_order(tree, tmp_path):
    folder = tree / "track_5000_20/test/annotation"
    text = (folder / "COS3.xml").read_text()
    (folder / "COS3.xml").write_text((folder / "COS4.xml").read_text())
    (folder / "COS4.xml").write_text(text)
    refuse(tree, tmp_path, r"COS3\.xml says that it belongs to frame 4, so frames are out of order")


def test_an_annotation_that_states_a_number_of_thousands_of_digits(tree, tmp_path):
    path = tree / "track_5000_20/test/annotation/COS3.xml"
    path.write_text(path.read_text().replace("COS3<", f"COS{'9' * 5000}<"))
    refuse(tree, tmp_path, r"test/annotation/COS3\.xml says that it belongs to frame 9{18}, so fr")


def test_leading_zeros_are_no_other_number(tree):
    path = tree / "track_5000_20/test/annotation/COS3.xml"
    path.write_text(path.read_text().replace("COS3<", "COS0003<"))
    assert len(list(read_records(find_sequences(tree, "test")))) == 1


ANNOTATIONS = {
    "empty": ("", "malformed XML"),
    "without targets": ("<annotation/>", "holds 0 targets in <annotation>"),
    "nan": ("nan", r"has \['nan'\] for xc, expected one finite number"),
    "huge": ("1e30", r"has a target at row 1e\+30, column 5, outside the image"),
    "digits": ("9" * 5000, "for xc, expected one finite number"),
}


@pytest.mark.parametrize("case", ANNOTATIONS)
def test_annotations_that_cannot_be_used(tree, tmp_path, case):
    content, message = ANNOTATIONS[case]
    if content and not content.startswith("<"):
        coordinate = f"<xc>{content}</xc><yc>5</yc><brightness>230</brightness>"
        content = f"<object><coordinate>{coordinate}</coordinate></object>"
        content = f"<annotation>{content}</annotation>"
    (tree / "track_5000_20/val/annotation/COS5.xml").write_text(content)
    refuse(tree, tmp_path, rf"val/annotation/COS5\.xml .*{message}")


def test_an_image_of_another_size(tree, tmp_path):
    path = tree / "track_5000_20/val/image/image_5.png"
    Image.fromarray(np.zeros((12, 11), np.uint8)).save(path)
    refuse(tree, tmp_path, r"val/image/image_5\.png is a PNG of mode L and 12×11 pixels, expected")


def test_an_image_of_another_name(tree, tmp_path):
    path = tree / "track_5000_20/val/image/image_5.png"
    path.rename(path.with_name("img5.png"))
    refuse(
        tree, tmp_path, r"val/image/img5\.png is not named like .* \(image_<id>\.png, COS<id>\.x"
    )


def test_an_image_that_is_missing(tree, tmp_path):
    (tree / "track_5000_20/train/image/image_27.png").unlink()
    refuse(tree, tmp_path, r"train/annotation/COS27\.xml has no image image_27\.png")


@pytest.mark.parametrize(
    ("missing", "suffix"),
    [("val", "png"), ("test/image", "png"), ("test/annotation", "xml")],
    ids=["split", "images", "annotations"],
)
def test_a_folder_that_is_missing_is_named_before_tfds_begins(
    tree, tmp_path, missing, suffix, capsys
):
    shutil.rmtree(tree / "track_5000_20" / missing)
    refuse(tree, tmp_path, rf"no \.{suffix} files in {tree}/track_5000_20/{missing}.*: give the")
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "")


@pytest.mark.parametrize("given", [True, False])
def test_no_tree(tmp_path, given):
    problem = f"{tmp_path} holds none of them" if given else "no manual directory was given"
    with pytest.raises(DistaxError, match=f"released SeqCSIST .* track_5000_20/ .*{problem}"):
        seqcsist.build("released", tmp_path / "data", tmp_path if given else None)
