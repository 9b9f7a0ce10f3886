"""Unusable files: a one-line error names the file and the remedy, and no dataset is left."""

import io
import shutil

import numpy as np
import pytest
from PIL import Image

import distax
from distax.datasets import csist100k

BOMB = """<?xml version="1.0"?><!DOCTYPE annotation [<!ENTITY a "aaaaaaaaaa">
<!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]>
<annotation><filename>&c;</filename></annotation>"""
EXTERNAL = """<?xml version="1.0"?><!DOCTYPE annotation [<!ENTITY a SYSTEM "file:///etc/hostname">]>
<annotation><filename>&a;</filename></annotation>"""
REMOTE = '<!DOCTYPE annotation SYSTEM "http://localhost:1/a.dtd"><annotation/>'


def target(row="5.0", column="5.0", brightness="230"):
    return (
        f"<object><coordinate><xc>{row}</xc><yc>{column}</yc>"
        f"<brightness>{brightness}</brightness></coordinate></object>"
    )


def annotation(*targets):
    return f"<annotation>{''.join(targets)}</annotation>"


ANNOTATIONS = {
    "empty": ("", "malformed XML"),
    "cut": (annotation(target())[:60], "malformed XML"),
    "not_xml": ("xc,yc\n1,2\n", "malformed XML"),
    "unknown_encoding": ('<?xml version="1.0" encoding="klingon"?><annotation/>', "malformed XML"),
    "entity_bomb": (BOMB, "declares entities"),
    "external_entity": (EXTERNAL, "declares entities"),
    "remote_document_type": (REMOTE, "declares entities"),
    "other_root": (f"<image>{target()}</image>", "in <image>"),
    "no_targets": (annotation(), "holds 0 targets"),
    "six_targets": (annotation(*[target()] * 6), "holds 6 targets"),
    "no_coordinate": (annotation("<object><name>Target</name></object>"), r"has \[\] for xc"),
    "no_row": (annotation(target().replace("xc>", "x>")), r"has \[\] for xc"),
    "no_column": (annotation(target().replace("yc>", "y>")), r"has \[\] for yc"),
    "no_brightness": (annotation(target().replace("brightness", "b")), "for brightness"),
    "two_rows": (annotation(target().replace("<xc>", "<xc>1</xc><xc>")), "for xc"),
    "empty_row": (annotation(target(row="")), r"has \[''\] for xc"),
    "underscore": (annotation(target(row="1_0")), r"has \['1_0'\] for xc"),
    "full_width": (annotation(target(row="\uff11")), "for xc"),
    "tags_in_a_row": (annotation(target(row="5<b>6</b>")), r"has \['other elements'\] for xc"),
    "too_dark_for_float32": (annotation(target(brightness="1e-300")), "brightness 1e-300"),
    "word": (annotation(target(column="five")), r"has \['five'\] for yc"),
    "nan": (annotation(target(row="nan")), r"has \['nan'\] for xc"),
    "infinite": (annotation(target(brightness="inf")), "for brightness"),
    "beyond_float32": (annotation(target(brightness="1e300")), "for brightness"),
    "long_and_broken": (annotation(target(row="a\n" * 10_000)), "for xc"),
    "dark": (annotation(target(brightness="0")), "brightness 0"),
    "too_bright": (annotation(target(brightness="1e20")), r"brightness 1e\+20"),
    "negative": (annotation(target(), target(brightness="-3")), "brightness -3"),
    "above": (annotation(target(row="-0.51")), "row -0.51, column 5, outside"),
    "right": (annotation(target(), target(column="10.51")), "row 5, column 10.51, outside"),
}


def png(pixels, keep=None):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()[:keep]


GREY = np.full((11, 11), 7, np.uint8)
FLIPPED = bytearray(png(np.arange(121, dtype=np.uint8).reshape(11, 11)))
FLIPPED[60] ^= 0xFF  # within the compressed pixels

IMAGES = {
    "empty": (b"", "damaged PNG"),
    "cut": (png(np.random.default_rng(0).integers(0, 255, (11, 11), np.uint8), 90), "damaged PNG"),
    "cut_header": (png(GREY, 20), "damaged PNG"),
    "checksum": (bytes(FLIPPED), "damaged PNG"),
    "text": (b"not an image", "damaged PNG"),
    "colour": (png(np.zeros((11, 11, 3), np.uint8)), "mode RGB"),
    "transparent": (png(np.zeros((11, 11, 2), np.uint8)), "mode LA"),
    "16_bit": (png(np.zeros((11, 11), np.uint16)), "mode I;16"),
    "wide": (png(np.zeros((11, 12), np.uint8)), "11×12"),
    "large": (png(np.zeros((33, 33), np.uint8)), "33×33"),
}


def check_failure(data_dir, tree, *parts):
    """Checks that building fails with one line matching all `parts` and leaves no dataset."""
    with pytest.raises(distax.DistaxError) as raised:
        csist100k.build("released", data_dir, tree)
    message = str(raised.value)
    assert "\n" not in message
    assert len(message) < 600
    for part in parts:
        raised.match(part)
    assert not list(data_dir.glob("csist100k/released/*"))
    with pytest.raises(distax.DistaxError, match="is not built"):
        csist100k.open_split("released", "train", data_dir)


@pytest.mark.parametrize("case", ANNOTATIONS)
def test_annotation(tree, tmp_path, case):
    content, message = ANNOTATIONS[case]
    (tree / "val" / "Annotations" / "CSO27.xml").write_text(content)
    check_failure(tmp_path, tree, r"val/Annotations/CSO27\.xml", message)


@pytest.mark.parametrize(("row", "column"), [("-0.5", "10.5"), ("10.5", "-0.5")])
def test_target_on_the_edge_of_the_image_is_fine(tree, tmp_path, row, column):
    (tree / "test" / "Annotations" / "CSO32.xml").write_text(annotation(target(row, column)))
    csist100k.build("released", tmp_path, tree)
    record = csist100k.open_split("released", "test", tmp_path)[0]
    np.testing.assert_array_equal(record["position"][0], [float(row), float(column)])


@pytest.mark.parametrize("case", IMAGES)
def test_image(tree, tmp_path, case):
    content, message = IMAGES[case]
    (tree / "test" / "cso_img" / "image_33.png").write_bytes(content)
    check_failure(tmp_path, tree, r"test/cso_img/image_33\.png", message)


def test_image_without_annotation(tree, tmp_path):
    (tree / "train" / "Annotations" / "CSO3.xml").unlink()
    check_failure(tmp_path, tree, r"train/cso_img/image_3\.png has no annotation CSO3\.xml")


def test_annotation_without_image(tree, tmp_path):
    (tree / "train" / "cso_img" / "image_3.png").unlink()
    check_failure(tmp_path, tree, r"train/Annotations/CSO3\.xml has no image image_3\.png")


def test_one_id_under_both_spellings(tree, tmp_path):
    folder = tree / "train" / "Annotations"
    shutil.copy(folder / "CSO3.xml", folder / "COS3.xml")
    check_failure(tmp_path, tree, r"train/Annotations/CSO3\.xml has the same id as COS3\.xml")


def test_one_id_with_and_without_zeros(tree, tmp_path):
    folder = tree / "train" / "cso_img"
    shutil.copy(folder / "image_3.png", folder / "image_03.png")
    check_failure(tmp_path, tree, r"train/cso_img/image_3\.png has the same id as image_03\.png")


@pytest.mark.parametrize("name", ["3.png", "image_3 (1).png", f"image_{10**18}.png"])
def test_unknown_name(tree, tmp_path, name):
    shutil.copy(tree / "train" / "cso_img" / "image_3.png", tree / "train" / "cso_img" / name)
    check_failure(tmp_path, tree, "is not named like")


def test_a_directory_for_a_file(tree, tmp_path):
    path = tree / "val" / "cso_img" / "image_27.png"
    path.unlink()
    path.mkdir()
    check_failure(tmp_path, tree, "cannot build released", r"val/cso_img/image_27\.png")


def test_no_manual_dir(tmp_path):
    check_failure(tmp_path, None, "no manual directory was given")


def test_manual_dir_is_missing(tmp_path):
    check_failure(tmp_path, tmp_path / "nowhere", "nowhere holds none")


def test_manual_dir_is_empty(tmp_path):
    (tmp_path / "empty").mkdir()
    check_failure(tmp_path, tmp_path / "empty", "empty holds none")


@pytest.mark.parametrize("missing", ["test", "val/cso_img", "train/Annotations"])
def test_part_of_the_tree_is_missing(tree, tmp_path, missing):
    shutil.rmtree(tree / missing)
    check_failure(tmp_path, tree, f"no .*files in .*{missing}.*as the manual directory")


def test_a_corrected_tree_builds_after_a_failure(tree, tmp_path):
    path = tree / "test" / "Annotations" / "CSO39.xml"
    content = path.read_text()
    path.write_text("")
    check_failure(tmp_path, tree, "malformed XML")
    path.write_text(content)
    csist100k.build("released", tmp_path, tree)
    assert len(csist100k.open_split("released", "test", tmp_path)) == 8
