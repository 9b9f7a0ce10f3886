import io
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from distax import DistaxError, DistaxWarning
from distax.io.frames import open_frames
from distax.io.reading import Reading

RANDOM = np.random.default_rng(5)
STACK = RANDOM.integers(0, 4000, (3, 6, 8)).astype(np.uint16)


def read(path, **settings):
    with open_frames(path, Reading(**settings)) as frames:
        return [frame.pixels[:] for frame in frames]


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("dtype", ["u1", ">u2", "<i4", ">i8", "u8", "f2", ">f4", "f8", "i1", "?"])
def test_values_and_types_come_as_stored_in_either_order(tmp_path, dtype, order):
    stored = np.asarray(STACK % 120, dtype, order=order)
    np.save(tmp_path / "a.npy", stored)
    np.savez_compressed(tmp_path / "a.npz", stored)
    for name in ("a.npy", "a.npz"):
        pixels = read(tmp_path / name)
        np.testing.assert_array_equal(pixels, stored)
        assert pixels[0].dtype == (np.uint8 if dtype == "?" else stored.dtype)


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_axes_of_colours_are_one_channel(tmp_path, name):
    save = np.save if name == "a.npy" else np.savez
    for channels in (1, 3, 4):
        colours = np.repeat(STACK[..., None], channels, axis=-1)
        if channels == 4:
            colours[..., 3] = 255
        save(tmp_path / name, colours)
        np.testing.assert_array_equal(read(tmp_path / name), STACK)
        save(tmp_path / name, colours[0])
        np.testing.assert_array_equal(read(tmp_path / name), STACK[:1])
    colours[1, 2, 3, 0] += 1
    save(tmp_path / name, colours)
    with open_frames(tmp_path / name) as frames:
        np.testing.assert_array_equal(frames[0].pixels[:], STACK[0])
        with pytest.raises(DistaxError, match="image 1: a colour image, whose 3 channels differ"):
            frames[1].pixels[:]


def test_an_npz_gives_its_first_images_or_the_named_array(tmp_path):
    np.savez(tmp_path / "a.npz", times=np.arange(3), frames=STACK, mean=STACK[0])
    np.testing.assert_array_equal(read(tmp_path / "a.npz"), STACK)
    np.testing.assert_array_equal(read(tmp_path / "a.npz", extension="mean"), STACK[:1])
    for extension, message in (
        ("dark", r"no array 'dark'; it holds times .3,., frames .3, 6, 8., mean .6, 8."),
        ("times", r"array times: an array of shape .3,.; give"),
    ):
        with pytest.raises(DistaxError, match=message):
            read(tmp_path / "a.npz", extension=extension)
    np.savez(tmp_path / "a.npz", times=np.arange(3))
    with pytest.raises(DistaxError, match=r"no array of images in it; it holds times .3,."):
        read(tmp_path / "a.npz")


def test_an_npz_that_is_named_npy_is_told_and_read(tmp_path):
    np.savez(tmp_path / "a.npz", STACK)
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    with pytest.warns(
        DistaxWarning, match=r"a\.npy: its name promises NPY, but its content is NPZ"
    ):
        np.testing.assert_array_equal(read(tmp_path / "a.npy"), STACK)


def npy(text, content=b"", version=(1, 0)):
    header = text.encode("latin-1")
    size = struct.pack("<H" if version == (1, 0) else "<I", len(header))
    return b"\x93NUMPY" + bytes(version) + size + header + content


def header(shape, descr="'<u2'"):
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            npy(header((10**6, 10**6))),
            "promises 2,000,000,000,000 bytes of pixels, but 0 are there",
        ),
        (npy(header((2**64, 1))), "promises .* bytes of pixels"),
        (npy(header((-4, 5)), bytes(40)), r"an array of shape \(-4, 5\)"),
        (npy(header((True, True)), bytes(40)), r"an array of shape \(True, True\)"),
        (npy(header((4, 5), "'<c16'"), bytes(320)), "holds complex128, not counts"),
        (npy(header((4, 5), "'<f16'"), bytes(320)), "holds float128, not counts"),
        (npy(header((4, 5), "[('a', '<u2')]"), bytes(40)), "not counts"),
        (npy(header((4, 5)), bytes(39)), "promises 40 bytes of pixels, but 39 are there"),
        (npy("''" * 4000), "a truncated or damaged NPY file"),
        (npy("(" * 9000), "damaged NPY file"),
        (npy("-" * 9000 + "1"), "damaged NPY file"),
        (npy("{'descr': 1}"), "a truncated or damaged NPY file"),
        (npy(header((4, 5)), bytes(40), (3, 0)), "version .3, 0. of the format"),
        (npy(header((4, 5)).ljust(20_000), bytes(40), (2, 0)), "a header of 20,000 bytes"),
        (b"\x93NUMPY", "a truncated or damaged NPY file"),
    ],
)
def test_headers_that_lie_are_refused(tmp_path, content, message):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(DistaxError, match=message) as error:
        read(tmp_path / "a.npy")
    assert str(error.value).startswith(f"{tmp_path / 'a.npy'}: ")
    assert "\n" not in str(error.value)


def test_members_that_lie_are_refused(tmp_path):
    for name, text, content, message in (
        ("zeros", header((10**4, 10**3)), bytes(2 * 10**7), "promises 20,000,000 bytes of pixels"),
        ("short", header((10**3, 10**3)), bytes(10), "promises 2,000,000 bytes of pixels, but 10"),
        ("limit", header((10**5, 10**5)), b"", "unpacks to 20 GB, more than the limit of 4 GB"),
    ):
        with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_BZIP2) as archive:
            archive.writestr(f"{name}.npy", npy(text, content))
        with pytest.raises(DistaxError, match=f"array {name}: .*{message}"):
            read(tmp_path / "a.npz")


def test_a_header_of_a_packed_array_is_refused_before_it_is_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", b"\x93NUMPY\2\0" + struct.pack("<I", 10**8) + b" " * 10**8)
    tracemalloc.start()
    try:
        with pytest.raises(DistaxError, match="a header of 100,000,000 bytes, at most 10,000"):
            read(tmp_path / "a.npz")
        assert tracemalloc.get_traced_memory()[1] < 10**7
    finally:
        tracemalloc.stop()


def test_a_message_names_few_of_many_arrays(tmp_path):
    np.savez(tmp_path / "a.npz", **{f"a{number}": np.zeros(3) for number in range(10)})
    with pytest.raises(DistaxError, match=r"a7 \(3,\) and 2 more$"):
        read(tmp_path / "a.npz")


def test_a_wrong_checksum_of_a_member_is_damage(tmp_path):
    packed = io.BytesIO()
    np.savez(packed, STACK)
    content = bytearray(packed.getvalue())
    content[400] ^= 1  # among the pixels
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DistaxError, match=r"a truncated or damaged NPZ file .Bad CRC-32"):
        read(tmp_path / "a.npz")
