import bz2
import gzip
import io
import lzma

import numpy as np
import pytest
from PIL import Image

from distax import DistaxError, DistaxWarning
from distax.io.frames import open_frames
from distax.io.reading import Reading

GRAY = np.random.default_rng(6).integers(0, 256, (12, 16)).astype(np.uint8)
FORMATS = {"png": "PNG", "bmp": "BMP", "tif": "TIFF", "jpg": "JPEG"}
PACKED = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


def encoded(suffix):
    content = io.BytesIO()
    if suffix == "npy":
        np.save(content, GRAY)
    else:
        Image.fromarray(GRAY).save(content, FORMATS[suffix])
    return content.getvalue()


def read(path, **settings):
    with open_frames(path, Reading(**settings)) as (frame,):
        return frame.pixels[:]


@pytest.mark.parametrize("packing", PACKED)
@pytest.mark.parametrize("suffix", ["png", "tif", "npy"])
def test_packed_files_are_read_like_others(tmp_path, suffix, packing):
    path = tmp_path / f"a.{suffix}.{packing}"
    path.write_bytes(PACKED[packing](encoded(suffix)))
    np.testing.assert_array_equal(read(path), GRAY)


@pytest.mark.parametrize("packing", PACKED)
def test_packed_files_unpack_no_further_than_the_limit(tmp_path, packing):
    path = tmp_path / f"a.npy.{packing}"
    path.write_bytes(PACKED[packing](encoded("npy") + bytes(10**7)))
    with pytest.raises(DistaxError, match=r"unpacks to .* more than the limit of 0\.005 GB"):
        read(path, max_bytes=5 * 10**6)
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(DistaxError, match=f"a.npy.{packing}: a truncated or damaged packed file"):
        read(path)


@pytest.mark.parametrize("content", ["png", "bmp", "tif", "npy"])
@pytest.mark.parametrize("name", ["png", "bmp", "tif", "npy", "fits", "npy.gz"])
def test_a_name_that_lies_is_told(tmp_path, content, name):
    path = tmp_path / f"a.{name}"
    path.write_bytes(encoded(content))
    if content == name:
        np.testing.assert_array_equal(read(path), GRAY)
        return
    with pytest.warns(DistaxWarning, match=rf"a\.{name}: its name promises .*, but its content is"):
        np.testing.assert_array_equal(read(path), GRAY)


def test_a_jpeg_that_is_named_png_is_told(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded("jpg"))
    with pytest.warns(DistaxWarning) as warned:
        read(tmp_path / "a.png")
    messages = [str(warning.message) for warning in warned]
    assert any("promises PNG, but its content is JPEG" in message for message in messages)
    assert any("blocks of 8×8" in message for message in messages)


def test_a_name_that_promises_nothing_is_read(tmp_path):
    for name in ("a", "a.dat", "a.2026.1"):
        (tmp_path / name).write_bytes(encoded("png"))
        np.testing.assert_array_equal(read(tmp_path / name), GRAY)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\0\0\0\x18ftypmp42", "a video .MP4 or MOV., which is not read; .* ffmpeg -i"),
        (b"RIFF\0\0\0\0AVI LIST", "a video .AVI., which is not read"),
        (b"\x1aE\xdf\xa3", "a video .Matroska or WebM., which is not read"),
        (b"LUCAM-RECORDER", "a video .SER., which is not read"),
        (b"GIF89a", "a GIF, which is not read; save its frames as PNG or TIFF"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file, which is not read; save its array as NPY"),
        (b"BM is how this text begins", "none of FITS, PNG, TIFF, BMP, JPEG, NPY or NPZ"),
    ],
)
def test_formats_that_are_not_read_are_named_with_advice(tmp_path, content, message):
    (tmp_path / "a.dat").write_bytes(content.ljust(80, b" "))
    with pytest.raises(DistaxError, match=rf"a\.dat: .*{message}"):
        read(tmp_path / "a.dat")


def test_settings_out_of_range_are_refused():
    for settings, message in (
        ({"max_bytes": 0}, "max_bytes must be greater than 0"),
        ({"channel": "red"}, "channel must be a number or mean, got 'red'"),
    ):
        with pytest.raises(DistaxError, match=message):
            Reading(**settings)
