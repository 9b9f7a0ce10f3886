"""The sample files are readable by the commands that take them, and are what their truth says."""

import csv
from collections import Counter

import jax.numpy as jnp
import numpy as np
import pytest

import distax
from distax.cli.samples import Samples, write_png
from distax.io.frames import open_frames
from distax.io.images import read_images
from distax.io.sensor_file import read_sensor


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("work") / "samples"
    Samples(out=out).run()
    return out


@pytest.fixture(scope="module")
def truth(folder):
    with (folder / "truth.csv").open() as file:
        return list(csv.DictReader(file))


def test_every_image_has_the_stated_number_of_targets(folder, truth):
    counts = Counter(row["file"] for row in truth)
    assert [counts[f"blob{count}.png"] for count in range(1, 6)] == [1, 2, 3, 4, 5]
    assert counts["isolated.npy"] == len(read_images(folder / "isolated.npy")) == 100
    assert counts["blobs.npy"] == 2 * len(read_images(folder / "blobs.npy"))
    assert counts["frames.npy"] == 2 * len(read_images(folder / "frames.npy")) == 40


def test_the_truth_explains_an_image_to_the_last_count(folder, truth):
    rows = [row for row in truth if row["file"] == "blob3.png"]
    position = jnp.array([[float(row["row"]), float(row["column"])] for row in rows])
    targets = distax.make_targets(position, jnp.array([float(row["intensity"]) for row in rows]))
    image = np.asarray(distax.render(targets, distax.Sensor()))
    delivered = read_images(folder / "blob3.png")[0]
    assert np.max(np.abs(np.minimum(image, 255) - delivered)) < 0.6


def test_the_frame_lies_on_the_sky_and_holds_its_targets(folder, truth):
    rows = [row for row in truth if row["file"] == "frame.fits"]
    with open_frames(folder / "frame.fits") as (frame,):
        pixels = np.asarray(frame.pixels[slice(None)])
        assert frame.unit == "adu"
        assert np.isfinite(frame.sky(np.zeros(1), np.zeros(1))).all()
    places = [(round(float(row["row"])), round(float(row["column"]))) for row in rows]
    assert min(pixels[place] for place in places) > np.nanmedian(pixels) + 50


def test_the_camera_is_that_of_its_images(folder):
    camera = read_sensor(folder / "camera.toml")
    dark, flat = (read_images(folder / f"{name}.npy") for name in ("dark", "flat150"))
    assert dark.max() <= 5 * camera.read_noise
    assert flat.mean() == pytest.approx(150, abs=0.5)
    noise = camera.read_noise**2 + flat.mean() / camera.gain
    assert np.var(flat, axis=0, ddof=1).mean() == pytest.approx(noise, rel=0.1)


def test_the_small_tree_is_read_as_the_released_dataset(folder):
    from distax.datasets.annotated import find_pairs
    from distax.datasets.csist100k.released import LAYOUT, read_records

    sizes = {}
    for split in ("train", "validation", "test"):
        pairs = find_pairs(folder / "CSIST-100K", split, LAYOUT)
        sizes[split] = len(list(read_records(pairs)))
    assert sizes == {"train": 8, "validation": 4, "test": 4}


def test_a_second_call_finds_the_samples_and_leaves_them(folder, capsys):
    before = (folder / "frame.fits").stat().st_mtime_ns
    Samples(out=folder).run()
    assert (folder / "frame.fits").stat().st_mtime_ns == before
    assert f"{folder}: has all samples already, unchanged\n" in capsys.readouterr().out


def test_files_are_replaced_only_where_asked_and_others_stay(folder):
    own, sample = folder / "own.txt", folder / "blob1.png"
    content = sample.read_bytes()
    own.write_text("mine")
    sample.write_bytes(b"")
    with pytest.raises(distax.DistaxError, match=r"files, and blob1.png is .* --overwrite"):
        Samples(out=folder).run()
    assert sample.read_bytes() == b""
    Samples(out=folder, overwrite=True).run()
    assert (own.read_text(), sample.read_bytes()) == ("mine", content)


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_a_png_reads_back_as_the_sensor_delivers_it(tmp_path, bits):
    sensor = distax.Sensor(bit_depth=bits, saturation=None)
    image = np.linspace(0, sensor.clip_level, 121, dtype=np.float32).round().reshape(11, 11)
    write_png(tmp_path / "a.png", image, sensor)
    np.testing.assert_array_equal(read_images(tmp_path / "a.png"), image[None])


def test_what_png_cannot_hold_comes_as_near_as_it_can(tmp_path):
    image = np.float32([[-3.0, 1.6, 300.0, 1e6]])
    write_png(tmp_path / "a.png", image, distax.Sensor(bit_depth=None, saturation=None))
    np.testing.assert_array_equal(read_images(tmp_path / "a.png"), [[[0, 2, 300, 65535]]])
