import os

import numpy as np
import pytest
from PIL import Image

from distax import DistaxError
from distax.io.images import read_images
from distax.io.reading import Reading

BYTES = np.arange(121, dtype=np.uint8).reshape(11, 11)
WORDS = (BYTES.astype(np.uint16) * 257).astype(np.uint16)


@pytest.mark.parametrize("suffix", ["png", "tif", "tiff", "npy"])
@pytest.mark.parametrize("pixels", [BYTES, WORDS], ids=["8 bit", "16 bit"])
def test_values_come_as_stored(tmp_path, suffix, pixels):
    path = tmp_path / f"image.{suffix}"
    if suffix == "npy":
        np.save(path, pixels)
    else:
        Image.fromarray(pixels).save(path)
    images = read_images(path)
    assert images.dtype == np.float32
    np.testing.assert_array_equal(images, pixels[None])


def test_pages_and_stacks_are_several_images(tmp_path):
    pages = [Image.fromarray(BYTES + k) for k in range(3)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    np.save(tmp_path / "stack.npy", np.stack([BYTES + k for k in range(3)]))
    for name in ("pages.tif", "stack.npy"):
        images = read_images(tmp_path / name)
        np.testing.assert_array_equal(images[:, 0, 1], [1, 2, 3])


def test_floats_keep_their_fractions(tmp_path):
    Image.fromarray(BYTES.astype(np.float32) / 8).save(tmp_path / "a.tif")
    np.save(tmp_path / "a.npy", BYTES / 8)
    for name in ("a.tif", "a.npy"):
        np.testing.assert_array_equal(read_images(tmp_path / name)[0], BYTES / 8)


def test_counts_that_float32_would_round_are_float64(tmp_path):
    counts = np.array([[2**24 + 1, 2**31 - 1], [3, 4]])
    for dtype in (np.int32, np.uint32, np.int64):
        np.save(tmp_path / "a.npy", counts.astype(dtype))
        images = read_images(tmp_path / "a.npy")
        assert images.dtype == np.float64
        np.testing.assert_array_equal(images[0], counts)
    for dtype in (np.int8, np.uint16, np.int16, np.float16):
        np.save(tmp_path / "a.npy", np.ones((2, 2), dtype))
        assert read_images(tmp_path / "a.npy").dtype == np.float32


def test_several_files_are_one_stack_in_order(tmp_path):
    np.save(tmp_path / "a.npy", np.stack([BYTES, BYTES + 1]))
    Image.fromarray(BYTES + 2).save(tmp_path / "b.png")
    images = read_images([tmp_path / "b.png", tmp_path / "a.npy"])
    np.testing.assert_array_equal(images[:, 0, 0], [2, 0, 1])
    np.save(tmp_path / "small.npy", BYTES[:5])
    message = (
        r"small\.npy: image 0 has 5×11 px, the first of .*b\.png has 11×11; give images of one"
    )
    with pytest.raises(DistaxError, match=message):
        read_images([tmp_path / "b.png", tmp_path / "small.npy"])


def test_a_stack_beyond_the_limit_is_refused_before_it_is_read(tmp_path):
    np.lib.format.open_memmap(tmp_path / "a.npy", "w+", np.uint8, (1000, 1000, 1000))
    with pytest.raises(DistaxError, match=r"unpacks to 4 GB, more than the limit of 1 GB"):
        read_images(tmp_path / "a.npy", Reading(max_bytes=10**9))


def save_truncated(path):
    Image.fromarray(BYTES).save(path)
    path.write_bytes(path.read_bytes()[:-30])


def save_pages_of_two_sizes(path):
    Image.fromarray(BYTES).save(path, save_all=True, append_images=[Image.fromarray(BYTES[:5])])


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("none.png", lambda path: None, "no such file"),
        ("none.npy", lambda path: None, "no such file"),
        ("folder.png", lambda path: path.mkdir(), "is a folder"),
        ("pipe.png", os.mkfifo, "is no regular file"),
        ("cut.png", save_truncated, "a truncated or damaged PNG file"),
        ("cut.tif", save_truncated, "its pixels lie beyond the end of the file"),
        ("text.png", lambda path: path.write_text("hello"), "a damaged PNG file, or none of FITS"),
        ("text.txt", lambda path: path.write_text("hello"), "by its first bytes none of FITS"),
        ("empty.npy", lambda path: path.write_bytes(b""), "the file is empty"),
        ("text.npy", lambda path: np.save(path, np.array([["a"]])), "not counts"),
        ("object.npy", lambda path: np.save(path, np.array([{}])), "holds object, not counts"),
        ("complex.npy", lambda path: np.save(path, np.ones((2, 2), complex)), "not counts"),
        ("line.npy", lambda path: np.save(path, np.zeros(11)), r"an array of shape \(11,\)"),
        ("void.npy", lambda path: np.save(path, np.zeros((0, 11, 11))), "an array of shape"),
        ("sizes.tif", save_pages_of_two_sizes, "image 1 has 5×11 px, .* give images of one size"),
    ],
)
def test_an_unreadable_file_is_named_in_one_line(tmp_path, name, make, message):
    make(tmp_path / name)
    with pytest.raises(DistaxError, match=message) as error:
        read_images(tmp_path / name)
    assert str(error.value).startswith(str(tmp_path / name))
    assert "\n" not in str(error.value)
