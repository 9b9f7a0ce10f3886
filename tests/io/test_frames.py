import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distax import DistaxError
from distax.io.frames import find_files, find_files_or_names, open_frames
from distax.io.reading import Reading

fits = pytest.importorskip("astropy.io.fits")
tifffile = pytest.importorskip("tifffile")

PIXELS = np.arange(20 * 30, dtype=np.uint16).reshape(20, 30)


def test_pages_and_stacks_are_several_frames(tmp_path):
    np.save(tmp_path / "a.npy", np.stack([PIXELS, PIXELS + 1]))
    pages = [Image.fromarray(PIXELS + k) for k in range(2)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    for name in ("a.npy", "a.tif"):
        with open_frames(tmp_path / name) as frames:
            assert [frame.shape for frame in frames] == [(20, 30)] * 2
            np.testing.assert_array_equal(frames[1].pixels[4:6], PIXELS[4:6] + 1)


def test_rows_of_npy_files_are_read_when_they_are_asked_for(tmp_path):
    """The memory is that of the rows, and none is mapped."""
    np.lib.format.open_memmap(tmp_path / "a.npy", "w+", np.int16, (4000, 1000))[17] = 7
    with open_frames(tmp_path / "a.npy") as (frame,):
        tracemalloc.start()
        rows = frame.pixels[16:20]
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert rows[:, 0].tolist() == [0, 7, 0, 0]
    assert not isinstance(rows, np.memmap)
    assert peak < 100_000


@pytest.mark.parametrize("suffix", ["npy", "fortran.npy", "tif", "tiff", "fits"])
def test_a_file_that_becomes_shorter_is_named(tmp_path, suffix):
    """A process that maps it into memory would be killed."""
    path, images = tmp_path / f"a.{suffix}", np.stack([PIXELS + k for k in range(40)])
    if suffix.endswith("npy"):
        np.save(path, np.asfortranarray(images) if "fortran" in suffix else images)
    elif suffix == "fits":
        fits.writeto(path, images)
    else:
        truncated = suffix == "tif"
        tifffile.imwrite(path, images, photometric="minisblack", truncate=truncated)
    with open_frames(path) as frames:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(DistaxError, match=r"a\..*(became shorter while|truncated or damaged)"):
            frames[39].pixels[:]


def test_damage_on_a_later_page_leaves_the_others_readable(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.stack([PIXELS, PIXELS + 1]), compression="zlib")
    with tifffile.TiffFile(path) as file:
        start = file.pages[1].dataoffsets[0]
    content = bytearray(path.read_bytes())
    content[start : start + 8] = b"damaged!"
    path.write_bytes(content)
    with open_frames(path) as frames:
        np.testing.assert_array_equal(frames[0].pixels[:], PIXELS)
        with pytest.raises(DistaxError, match=r"a\.tif: page 1: a truncated or damaged TIFF"):
            frames[1].pixels[:]


def test_frames_are_counted_from_either_end(tmp_path):
    np.save(tmp_path / "a.npy", np.stack([PIXELS, PIXELS + 1, PIXELS + 2]))
    with open_frames(tmp_path / "a.npy") as frames:
        np.testing.assert_array_equal(frames[-1].pixels[:], PIXELS + 2)
        with pytest.raises(IndexError):
            frames[3]


@pytest.mark.parametrize("suffix", ["npy", "fits"])
def test_a_long_cube_takes_the_memory_of_one_plane(tmp_path, suffix):
    path, planes = tmp_path / f"a.{suffix}", 10_000
    if suffix == "npy":
        np.lib.format.open_memmap(path, "w+", np.int16, (planes, 64, 64))[-1] = 7
    else:
        header = fits.Header()
        header.update(SIMPLE=True, BITPIX=16, NAXIS=3, NAXIS1=64, NAXIS2=64, NAXIS3=planes)
        with path.open("wb") as file:
            file.write(header.tostring().encode())
            file.seek(2 * 64 * 64 * (planes - 1), 1)  # a hole of zeros
            file.write(np.full(64 * 64, 7, ">i2").tobytes().ljust(2880 * 3, b"\0"))
    with open_frames(path) as frames:  # imports what reading needs
        frames[0].pixels[:]
    tracemalloc.start()
    with open_frames(path) as frames:
        length = len(frames)
        values = [frames[k].pixels[:][0, 0] for k in (*range(0, planes, 500), planes - 1)]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (length, max(values[:-1]), values[-1]) == (planes, 0, 7)
    assert peak < 5 * 10**6


@pytest.fixture
def marks(tmp_path):
    """A mask in every format that can hold one, and the same as an array."""
    marks = np.zeros(PIXELS.shape, bool)
    marks[2, 3] = marks[19] = True
    np.save(tmp_path / "bool.npy", marks)
    np.save(tmp_path / "nan.npy", np.where(marks, np.nan, 0.0))
    Image.fromarray(marks).save(tmp_path / "bilevel.png")
    Image.fromarray((255 * marks).astype(np.uint8)).save(tmp_path / "gray.png")
    tifffile.imwrite(tmp_path / "page.tif", marks.astype(np.int16) * -7)
    fits.PrimaryHDU(marks.astype(np.uint8)).writeto(tmp_path / "primary.fits")
    masked = [fits.PrimaryHDU(), fits.ImageHDU(marks.astype(np.uint8), name="DQ")]
    fits.HDUList(masked).writeto(tmp_path / "ext.fits")
    return marks


@pytest.mark.parametrize(
    "mask",
    [
        "bool.npy",
        "nan.npy",
        "bilevel.png",
        "gray.png",
        "page.tif",
        "primary.fits",
        "ext.fits",
    ],
)
def test_a_mask_file_marks_the_bad_pixels_of_every_image(tmp_path, marks, mask):
    np.save(tmp_path / "a.npy", np.stack([PIXELS, PIXELS + 1]))
    with open_frames(tmp_path / "a.npy", Reading(mask=str(tmp_path / mask))) as frames:
        for number, frame in enumerate(frames):
            expected = np.where(marks, np.nan, PIXELS + number)
            np.testing.assert_array_equal(frame.pixels[1:9], expected[1:9])
            np.testing.assert_array_equal(frame.stored[:], PIXELS + number)


def test_a_mask_that_does_not_fit_is_named(tmp_path, marks):
    np.save(tmp_path / "a.npy", np.stack([PIXELS, PIXELS, PIXELS]))
    np.save(tmp_path / "small.npy", marks[:5])
    np.save(tmp_path / "two.npy", np.stack([marks, marks]))
    for mask, message in (
        (tmp_path / "small.npy", "small.npy: is a mask of 5×30 px, but image 0 of .* has 20×30"),
        (tmp_path / "two.npy", "two.npy: holds 2 masks for the 3 images of"),
        ("DQ", "the mask 'DQ' is neither a file nor an extension"),
    ):
        with (
            pytest.raises(DistaxError, match=message),
            open_frames(tmp_path / "a.npy", Reading(mask=str(mask))) as frames,
        ):
            frames[0]


def test_a_mask_of_all_pixels_is_named_and_one_of_many_is_not(tmp_path):
    np.save(tmp_path / "a.npy", np.stack([PIXELS, PIXELS]))
    np.save(tmp_path / "all.npy", np.ones(PIXELS.shape))
    np.save(tmp_path / "one.npy", np.stack([np.zeros(PIXELS.shape), np.ones(PIXELS.shape)]))
    with (
        pytest.raises(
            DistaxError, match=r"all.npy: this mask marks all pixels of image 0 of .*a.n"
        ),
        open_frames(tmp_path / "a.npy", Reading(mask=str(tmp_path / "all.npy"))) as frames,
    ):
        frames[0]
    with open_frames(tmp_path / "a.npy", Reading(mask=str(tmp_path / "one.npy"))) as frames:
        np.testing.assert_array_equal(frames[0].pixels[:], PIXELS)
        assert np.isnan(frames[1].pixels[:]).all()


def test_folders_and_patterns_give_their_files_in_natural_order(tmp_path):
    for name in ("f10.png", "f2.png", "f1.PNG", "notes.txt", ".hidden.png", "f3.fits.gz"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "empty").mkdir()
    names = [path.name for path in find_files([tmp_path])]
    assert names == ["f1.PNG", "f2.png", "f3.fits.gz", "f10.png"]
    found = find_files([tmp_path / "f10.png", tmp_path / "f*.png"])
    assert [path.name for path in found] == ["f10.png", "f2.png", "folder.png"]
    assert find_files([Path("none.png")]) == [Path("none.png")]
    with pytest.raises(DistaxError, match="a folder without image files"):
        find_files([tmp_path / "empty"])
    with pytest.raises(DistaxError, match="no file matches"):
        find_files([tmp_path / "*.npy"])


def test_what_names_no_file_stays_among_the_others(tmp_path):
    (tmp_path / "good.npy").touch()
    (tmp_path / "empty").mkdir()
    bad = [tmp_path / "empty", tmp_path / "*.png", tmp_path / ("a" * 300 + ".npy")]
    # Python 3.13 takes a name that is too long for one of no file.
    assert find_files_or_names([*bad, tmp_path]) == [*bad, tmp_path / "good.npy"]


def test_a_name_with_brackets_is_that_file_if_there_is_one(tmp_path):
    (tmp_path / "frame[1].png").touch()
    assert find_files([tmp_path / "frame[1].png"]) == [tmp_path / "frame[1].png"]


@pytest.mark.parametrize("target", ["gone.npy", "link.npy"])
def test_a_link_of_a_folder_that_leads_to_no_file_is_named(tmp_path, target):
    np.save(tmp_path / "good.npy", PIXELS)
    link = tmp_path / "link.npy"
    link.symlink_to(tmp_path / target)
    (tmp_path / "notes.txt").symlink_to(tmp_path / "gone.txt")
    assert find_files([tmp_path]) == [tmp_path / "good.npy", link]
    problem = r"link\.npy: cannot be read, as this link leads to no file; restore"
    with pytest.raises(DistaxError, match=problem), open_frames(link):
        pass
