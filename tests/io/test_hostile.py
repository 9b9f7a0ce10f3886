"""Mutations of good files: each is read or refused in one line, in bounded time and memory."""

import bz2
import gzip
import io
import time
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from distax import DistaxError, DistaxWarning
from distax.io.frames import open_frames
from distax.io.reading import Reading

fits = pytest.importorskip("astropy.io.fits")
tifffile = pytest.importorskip("tifffile")
imagecodecs = pytest.importorskip("imagecodecs")

DEEP = np.random.default_rng(0).integers(0, 4000, (24, 30)).astype(np.uint16)
GRAY = (DEEP >> 4).astype(np.uint8)
STACK = np.stack([DEEP] * 3)
READING = Reading(max_bytes=10**7)
MOST_SECONDS, MOST_BYTES = 5.0, 5 * 10**7
"""Bounds of one file: processor time, and memory of a few times `max_bytes`."""


def saved(write, *arguments, **options):
    content = io.BytesIO()
    write(content, *arguments, **options)
    return content.getvalue()


def picture(kind, pixels=GRAY, mode=None, **options):
    return saved(Image.fromarray(pixels).convert(mode).save, kind, **options)


def fits_file(*hdus):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return saved(fits.HDUList(list(hdus)).writeto)


def tiles(pixels, compression, **options):
    hdu = fits.CompImageHDU(pixels, compression_type=compression, **options)
    return fits_file(fits.PrimaryHDU(), hdu)


def described_fits():
    header = fits.Header()
    header.update(CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CRVAL1=150.0, CRVAL2=2.0, CRPIX1=1.0)
    header.update(CDELT1=-1e-3, CDELT2=2e-3, SATURATE=60000, BUNIT="adu")
    marks = (DEEP > 3900).astype(np.uint8)
    table = fits.BinTableHDU.from_columns([fits.Column("x", "E", array=[1.0])], name="LIST")
    image = fits.ImageHDU(DEEP.astype(np.int16), header, name="SCI")
    return fits_file(fits.PrimaryHDU(), image, fits.ImageHDU(marks, name="DQ"), table)


GOOD = {
    "gray.png": picture("PNG"),
    "palette.png": picture("PNG", mode="P"),
    "deep.png": picture("PNG", DEEP),
    "colours.png": bytes(imagecodecs.png_encode(np.stack([DEEP] * 3, axis=-1))),
    "gray.bmp": picture("BMP"),
    "colours.bmp": picture("BMP", mode="RGB"),
    "a.jpg": picture("JPEG"),
    "progressive.jpg": picture("JPEG", progressive=True),
    "plain.tif": saved(tifffile.imwrite, DEEP),
    "pages.tif": saved(tifffile.imwrite, STACK, photometric="minisblack"),
    "lzw.tif": saved(tifffile.imwrite, DEEP, compression="lzw", predictor=True),
    "tiles.tif": saved(tifffile.imwrite, DEEP, compression="zlib", tile=(16, 16)),
    "zstd.tif": saved(tifffile.imwrite, DEEP.astype(np.float32), compression="zstd"),
    "packbits.tif": saved(tifffile.imwrite, GRAY, compression="packbits"),
    "bilevel.tif": saved(tifffile.imwrite, DEEP > 2000, photometric="minisblack"),
    "big.tif": saved(tifffile.imwrite, DEEP, bigtiff=True),
    "imagej.tif": saved(tifffile.imwrite, STACK, imagej=True),
    "a.npy": saved(np.save, STACK),
    "a.npz": saved(np.savez_compressed, a=STACK, b=np.arange(3)),
    "cube.fits": fits_file(fits.PrimaryHDU(STACK)),
    "described.fits": described_fits(),
    "rice.fits": tiles(DEEP, "RICE_1"),
    "quantised.fits": tiles(DEEP * np.float32(1.01), "RICE_1"),
    "gzip.fits": tiles(DEEP, "GZIP_1"),
    "packed.fits.gz": gzip.compress(fits_file(fits.PrimaryHDU(DEEP))),
    "packed.npy.bz2": bz2.compress(saved(np.save, DEEP)),
}
APART = {
    "hcompress.fits": tiles(DEEP.astype(np.int32), "HCOMPRESS_1"),
    "plio.fits": tiles((DEEP > 3900).astype(np.int16), "PLIO_1"),
}
"""Files that are decoded in a process of its own, which takes a second or more."""

PLACE = st.floats(0, 1, exclude_max=True).map(lambda share: share**2)  # headers are at the start
VALUES = st.sampled_from(
    [
        *(
            b"\0",
            b"\xff",
            b"\0\0\0\0",
            b"\xff\xff\xff\xff",
            b"\x7f\xff\xff\xff",
            b"\xff\xff\xff\x7f",
        ),
        *(b"\0\0\0\x80", b"9", b"0", b"9999", b"-", b"{}", b"\n"),
    ]
) | st.binary(min_size=1, max_size=4)
CHANGES = st.lists(
    st.tuples(st.sampled_from(["write", "flip", "delete", "copy", "cut"]), PLACE, PLACE, VALUES),
    min_size=1,
    max_size=4,
)


def changed(content, changes):
    """Applies changes to a file's content, each at places that are shares of its length."""
    content = bytearray(content)
    for kind, place, other, value in changes:
        start, source = int(place * len(content)), int(other * len(content))
        if kind == "write":
            content[start : start + len(value)] = value
        elif kind == "flip":
            content[start] ^= 1 << (value[0] % 8)
        elif kind == "delete":
            del content[start : start + 1 + value[0]]
        elif kind == "copy":
            content[start : start + 40] = content[source : source + 40]
        else:
            del content[max(start, source) :]
        if not content:
            return b"x"
    return bytes(content)


def read_all(path):
    """Reads every pixel of the first frames of a file, or returns the line that refuses it."""
    try:
        with open_frames(path, READING) as frames:
            for number in range(min(len(frames), 4)):
                frame = frames[number]
                assert frame.pixels[:].shape == frame.shape
    except DistaxError as error:
        line = str(error)
        assert line.startswith(f"{path}: ")
        assert "\n" not in line
        return line
    return None


def check(folder, name, content):
    path = folder / name
    path.write_bytes(content)
    tracemalloc.start()
    start = time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DistaxWarning)
            read_all(path)
        assert time.process_time() - start < MOST_SECONDS
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    for name, content in GOOD.items():  # also imports the libraries, whose time is not measured
        (folder / name).write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DistaxWarning)
            assert read_all(folder / name) is None, name
    return folder


@pytest.mark.parametrize("name", GOOD)
@settings(
    max_examples=25,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(changes=CHANGES)
def test_mutations_are_read_or_refused_in_one_line(folder, name, changes):
    check(folder, name, changed(GOOD[name], changes))


@pytest.mark.parametrize("name", APART)
def test_decoders_that_crash_end_no_more_than_their_own_process(folder, name):
    content = APART[name]
    (folder / name).write_bytes(content)
    assert read_all(folder / name) is None
    # Behind the two headers and the descriptor of the first tile.
    start = len(content) - 2880
    garbage = bytearray(content)
    garbage[start + 60 : start + 400] = bytes(range(170)) * 2
    (folder / name).write_bytes(garbage)
    read_all(folder / name)  # may also give pixels: nothing in the file tells that they are wrong


@pytest.mark.parametrize("keyword", ["ZTILE1", "ZTILE2", "ZNAXIS1", "ZNAXIS2", "NAXIS2"])
def test_tiles_that_do_not_suit_the_image_are_refused_before_they_are_decoded(folder, keyword):
    for name in ("hcompress.fits", "rice.fits"):
        content = (GOOD | APART)[name]
        place = content.index(f"{keyword:8}= ".encode(), 2880)
        card = content[place : place + 80]
        # A tile may be larger than the image, which then is its only one.
        for number in (7, 0, -1, *([] if keyword.startswith("ZTILE") else (10**9, 10**15))):
            other = f"{keyword:8}= {number:>20}".encode().ljust(80)
            (folder / name).write_bytes(content.replace(card, other))
            assert read_all(folder / name) is not None, (name, number)


def test_an_hcompress_tile_of_another_size_is_refused(folder):
    content = bytearray(APART["hcompress.fits"])
    place = content.index(b"\xdd\x99")  # the mark of its stream, before its height and width
    content[place + 5] += 1
    (folder / "a.fits").write_bytes(content)
    assert "holds (25, 30) pixels, but its place in the image has (24, 30)" in read_all(
        folder / "a.fits"
    )
