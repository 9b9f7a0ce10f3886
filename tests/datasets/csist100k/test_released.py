"""The reference tree, built and read, compared with its files parsed by other means."""

import re
import xml.dom.minidom

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import distax
from distax import DistaxError
from distax.datasets import csist100k
from distax.datasets.annotated import find_pairs
from distax.datasets.csist100k.released import LAYOUT

FOLDERS = {"train": "train", "validation": "val", "test": "test"}


def truth(path):
    """(row, column, brightness) of an annotation's targets, by the other XML interface."""
    document = xml.dom.minidom.parse(str(path))
    columns = [
        [float(node.firstChild.data) for node in document.getElementsByTagName(tag)]
        for tag in ("xc", "yc", "brightness")
    ]
    return np.array(columns).T


@pytest.mark.parametrize("split", FOLDERS)
def test_records_are_the_files(released_dir, layout, split):
    folder = layout / FOLDERS[split]
    ids = sorted(int(re.sub(r"\D", "", path.name)) for path in (folder / "cso_img").iterdir())
    source = csist100k.open_split("released", split, released_dir)
    assert [record["id"] for record in source] == ids
    for record in source:
        pixels = np.asarray(Image.open(folder / "cso_img" / f"image_{record['id']}.png"))
        expected = truth(folder / "Annotations" / f"CSO{record['id']}.xml").astype(np.float32)
        count = record["count"]
        assert record["image"].dtype == np.uint8
        np.testing.assert_array_equal(record["image"], pixels)
        assert count == len(expected)
        assert record["position"].shape == (5, 2)
        assert record["position"].dtype == record["intensity"].dtype == np.float32
        np.testing.assert_array_equal(record["position"][:count], expected[:, :2])
        np.testing.assert_array_equal(record["intensity"][:count], expected[:, 2])
        assert not record["position"][count:].any()
        assert not record["intensity"][count:].any()


@pytest.mark.parametrize("split", FOLDERS)
def test_imaging_model_explains_the_images(released_dir, split):
    """Rendering the annotated targets gives the published pixels, so xc is indeed the row."""
    images, targets = csist100k.read_split(csist100k.open_split("released", split, released_dir))
    sensor = distax.Sensor()
    ideal = distax.render(jax.tree.map(jnp.asarray, targets), sensor)
    assert np.abs(np.minimum(ideal, 255) - images).max() <= 0.501  # rounding


def test_an_unknown_split_is_named_with_the_known_ones(tree):
    with pytest.raises(DistaxError, match=r"unknown split 'valid'.* test, train, validation"):
        find_pairs(tree, "valid", LAYOUT)


def test_other_spelling_of_the_annotations(tree, tmp_path):
    for path in tree.glob("*/Annotations/CSO*.xml"):
        path.rename(path.with_name(path.name.replace("CSO", "COS")))
    csist100k.build("released", tmp_path, tree)
    assert len(csist100k.open_split("released", "train", tmp_path)) == 24


def test_resource_forks_are_ignored(tree, tmp_path):
    (tree / "train" / "cso_img" / "._image_0.png").write_bytes(b"macOS")
    csist100k.build("released", tmp_path, tree)
    assert len(csist100k.open_split("released", "train", tmp_path)) == 24
