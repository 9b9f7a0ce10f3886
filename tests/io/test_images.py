import numpy as np
import pytest
from PIL import Image

from distax import DistaxError
from distax.io.images import read_images

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


def save_truncated(path):
    Image.fromarray(BYTES).save(path)
    path.write_bytes(path.read_bytes()[:-30])


def save_pages_of_two_sizes(path):
    Image.fromarray(BYTES).save(path, save_all=True, append_images=[Image.fromarray(BYTES[:5])])


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("none.png", lambda path: None, "no such file"),
        ("none.npy", lambda path: None, r"cannot be read \(No such file"),
        ("a.jpg", lambda path: None, "not a FITS, PNG, TIFF or NPY file by"),
        ("rgb.png", Image.new("RGB", (11, 11)).save, "a colour or palette image"),
        ("palette.png", Image.new("P", (11, 11)).save, "a colour or palette image"),
        ("cut.png", save_truncated, "a truncated or damaged image"),
        ("cut.tif", save_truncated, "a truncated or damaged image"),
        ("text.png", lambda path: path.write_text("hello"), "a truncated or damaged image"),
        ("empty.npy", lambda path: path.write_bytes(b""), "not a complete NPY file"),
        ("text.npy", lambda path: np.save(path, np.array(["a"])), "not counts"),
        ("object.npy", lambda path: np.save(path, np.array([{}])), "not a complete NPY file"),
        ("line.npy", lambda path: np.save(path, np.zeros(11)), r"an array of shape \(11,\)"),
        ("void.npy", lambda path: np.save(path, np.zeros((0, 11, 11))), "an array of shape"),
        (
            "rgb.npy",
            lambda path: np.save(path, np.zeros((11, 11, 3))),
            "looks like colour",
        ),
        ("sizes.tif", save_pages_of_two_sizes, "its pages have different sizes"),
    ],
)
def test_an_unreadable_file_is_named_in_one_line(tmp_path, name, make, message):
    make(tmp_path / name)
    with pytest.raises(DistaxError, match=message) as error:
        read_images(tmp_path / name)
    assert str(error.value).startswith(str(tmp_path / name))
    assert "\n" not in str(error.value)
