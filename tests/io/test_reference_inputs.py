"""Files as people's cameras and programs write them, and files that were damaged on purpose."""

import time
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from distax import DistaxError, DistaxWarning
from distax.io.frames import open_frames
from distax.io.images import read_images
from tests.pages import ROOT

INPUTS = ROOT / "tests" / "reference" / "inputs"
fits = pytest.importorskip("astropy.io.fits")
tifffile = pytest.importorskip("tifffile")


@pytest.mark.parametrize("name", ["rgb.png", "la.png", "pal.png", "frame.bmp"])
def test_gray_images_in_colour_are_the_gray_that_another_reader_sees(name):
    gray = np.asarray(Image.open(INPUTS / name).convert("L"))
    np.testing.assert_array_equal(read_images(INPUTS / name)[0], gray)


def test_a_jpeg_is_read_with_a_warning():
    with pytest.warns(DistaxWarning, match=r"frame\.jpg: JPEG changes pixels"):
        pixels = read_images(INPUTS / "frame.jpg")[0]
    np.testing.assert_array_equal(pixels, np.asarray(Image.open(INPUTS / "frame.jpg")))


def test_a_tiff_of_float64_is_read():
    pixels = read_images(INPUTS / "float64.tif")
    np.testing.assert_array_equal(pixels[0], tifffile.imread(INPUTS / "float64.tif"))
    assert pixels.dtype == np.float64


def test_fits_frames_and_the_planes_of_a_cube_are_images():
    for name, count in (("frame.fits", 1), ("cube.fits", 3)):
        pixels = read_images(INPUTS / name)
        assert pixels.shape == (count, 48, 64)
        np.testing.assert_array_equal(pixels.squeeze(), fits.getdata(INPUTS / name))


def test_a_saturation_of_zero_is_left_out_by_name():
    with (
        pytest.warns(DistaxWarning, match=r"sat0\.fits: SATURATE = 0 is not positive") as warned,
        open_frames(INPUTS / "sat0.fits") as (frame,),
    ):
        assert (frame.saturation, len(warned)) == (None, 1)


def test_the_pixel_that_a_data_quality_extension_marks_is_left_out():
    with pytest.warns(DistaxWarning, match="the extension DQ marks are left out; --mask none"):
        (pixels,) = read_images(INPUTS / "mef.fits")
    assert np.argwhere(np.isnan(pixels)).tolist() == [[30, 10]]


def test_whole_frames_of_a_stack_are_images_in_order():
    np.testing.assert_array_equal(
        read_images(INPUTS / "frames.npy"), np.load(INPUTS / "frames.npy")
    )


@pytest.mark.parametrize("path", sorted((INPUTS / "damaged").iterdir()), ids=lambda path: path.name)
def test_damaged_files_give_one_line_in_under_a_second(path):
    read_images(INPUTS / "frame.fits")  # imports what reading needs
    tracemalloc.start()
    start = time.process_time()
    if path.name == "table_noshape.fits":  # damaged in a part that is not read
        with pytest.warns(DistaxWarning, match="part 2: 38 lines of its header hold no text"):
            assert read_images(path).shape == (1, 24, 30)
    else:
        with pytest.raises(DistaxError) as error:
            read_images(path)
        assert str(error.value).startswith(f"{path}: ")
        assert "\n" not in str(error.value)
    seconds, (_, peak) = time.process_time() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 1
    assert peak < 10**7
