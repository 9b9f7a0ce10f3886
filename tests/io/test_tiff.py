"""Exactness of TIFF, against the arrays that are written and against Pillow."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from distax import DistaxError, DistaxWarning
from distax.io.frames import open_frames
from distax.io.reading import Reading

tifffile = pytest.importorskip("tifffile")
RANDOM = np.random.default_rng(4)
BITS = RANDOM.integers(0, 2**16, (33, 21), np.uint16)
TYPES = ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"]
COMPRESSIONS = [None, "lzw", "zlib", "packbits", "zstd", "lzma"]


def values(dtype):
    """Random values over the whole range of a type."""
    if np.dtype(dtype).kind == "f":
        return (RANDOM.standard_normal((33, 21)) * 1000).astype(dtype)
    limits = np.iinfo(dtype)
    return RANDOM.integers(limits.min, limits.max, (33, 21), dtype, endpoint=True)


def read(path, **settings):
    with open_frames(path, Reading(**settings)) as frames:
        return [frame.pixels[:] for frame in frames]


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize("dtype", TYPES)
def test_values_and_types_come_as_stored_at_every_depth_and_sense(tmp_path, dtype, photometric):
    stored = values(dtype)
    for order in "<>":
        tifffile.imwrite(tmp_path / "a.tif", stored, photometric=photometric, byteorder=order)
        if photometric == "miniswhite":
            with pytest.warns(DistaxWarning, match="read as stored, but the file says that zero"):
                (pixels,) = read(tmp_path / "a.tif")
        else:
            (pixels,) = read(tmp_path / "a.tif")
        np.testing.assert_array_equal(pixels, stored)
        assert pixels.dtype == stored.dtype


@pytest.mark.parametrize("first", ["minisblack", "miniswhite"])
def test_a_page_of_another_sense_than_the_first_is_warned_of(tmp_path, first):
    stored = values("u1")
    other = {"minisblack": "miniswhite", "miniswhite": "minisblack"}[first]
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for photometric in (first, other, first):
            file.write(stored, photometric=photometric, metadata=None)
    with pytest.warns(DistaxWarning) as caught:
        pages = read(tmp_path / "a.tif")
    lines = [str(one.message) for one in caught if "page 1: " in str(one.message)]
    assert len(lines) == 1
    assert f"zero is {other.removeprefix('minis')} in this page" in lines[0]
    assert len(caught) == 1 + (first == "miniswhite")
    np.testing.assert_array_equal(pages, [stored] * 3)


@pytest.mark.parametrize("layout", [{}, {"tile": (16, 16)}, {"rowsperstrip": 5}])
@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("predictor", [False, True])
def test_compressions_and_layouts_give_the_same_values(tmp_path, compression, layout, predictor):
    for dtype in ("u1", "u2", "f4"):
        stored = values(dtype)
        options = {"compression": compression, "predictor": predictor and bool(compression)}
        for big in (False, True):
            tifffile.imwrite(tmp_path / "a.tif", stored, bigtiff=big, **options, **layout)
            np.testing.assert_array_equal(read(tmp_path / "a.tif")[0], stored)


@pytest.mark.parametrize("bits", [1, 2, 4, 6, 10, 12, 14])
def test_packed_integers_come_as_stored(tmp_path, bits):
    stored = (BITS >> (16 - bits)).astype(np.uint16 if bits > 8 else np.uint8)
    unpacked = np.unpackbits(stored.astype(">u2").view(np.uint8).reshape(33, 21, 2), axis=-1)
    rows = unpacked.reshape(33, 21, 16)[..., 16 - bits :].reshape(33, -1)
    content = b"".join(np.packbits(row).tobytes() for row in rows)
    (tmp_path / "a.tif").write_bytes(plain_tiff(content, bits))
    (pixels,) = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(pixels, stored)


def test_packed_integers_that_would_be_misread_are_refused(tmp_path):
    tags = {256: 2, 257: 1, 258: 24, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: 6}
    entries = b"".join(struct.pack(">2H2I", tag, 4, 1, value) for tag, value in tags.items())
    directory = struct.pack(">H", len(tags)) + entries + bytes(4)
    start = struct.pack(">2sHI", b"MM", 42, 14)
    (tmp_path / "a.tif").write_bytes(start + bytes([0, 1, 2, 3, 4, 5]) + directory)
    with pytest.raises(DistaxError, match="24 bits in big-endian order, which is not read"):
        read(tmp_path / "a.tif")


def plain_tiff(content, bits, width=21, height=33, **more):
    """Writes a gray TIFF of one strip; `more` replaces values of tags by their numbers."""
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: 1, 277: 1, 278: height}
    tags |= {273: 8, 279: len(content)} | {int(name[1:]): value for name, value in more.items()}
    entries = [struct.pack("<2H2I", tag, 4, 1, tags[tag]) for tag in sorted(tags)]
    directory = struct.pack("<H", len(tags)) + b"".join(entries) + bytes(4)
    return struct.pack("<2sHI", b"II", 42, 8 + len(content)) + content + directory


@pytest.mark.parametrize("kind", ["bilevel", "8 bit", "16 bit", "int32", "float32"])
def test_pillow_reads_the_same(tmp_path, kind):
    stored = {
        "bilevel": BITS > 30_000,
        "8 bit": values("u1"),
        "16 bit": BITS,
        "int32": values("i4"),
        "float32": values("f4"),
    }[kind]
    Image.fromarray(stored).save(tmp_path / "a.tif")
    (pixels,) = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(pixels, np.asarray(Image.open(tmp_path / "a.tif")))
    np.testing.assert_array_equal(pixels, stored)


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4", "f8"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("alpha", [False, True])
def test_equal_colours_are_the_one_channel(tmp_path, dtype, planar, alpha):
    stored = np.abs(values(dtype))
    samples = [stored, stored, stored, *([np.full_like(stored, 1)] * alpha)]
    axis = -1 if planar == "contig" else 0
    options = {"photometric": "rgb", "planarconfig": planar}
    options |= {"extrasamples": ["unassalpha"]} if alpha else {}
    tifffile.imwrite(tmp_path / "a.tif", np.stack(samples, axis), **options)
    np.testing.assert_array_equal(read(tmp_path / "a.tif")[0], stored)
    samples[1] = samples[1].copy()
    samples[1][3, 4] += 1
    tifffile.imwrite(tmp_path / "a.tif", np.stack(samples, axis), **options)
    with pytest.raises(DistaxError, match="page 0: a colour image, whose 3 channels differ"):
        read(tmp_path / "a.tif")
    np.testing.assert_array_equal(read(tmp_path / "a.tif", channel="1")[0], samples[1])


def test_two_samples_are_one_if_they_are_equal_or_one_is_alpha(tmp_path):
    stored = values("f8")
    for other, extra in ((stored, "unspecified"), (np.ones_like(stored), "unassalpha")):
        tifffile.imwrite(
            tmp_path / "a.tif",
            np.stack([stored, other], axis=-1),
            photometric="minisblack",
            planarconfig="contig",
            extrasamples=[extra],
        )
        np.testing.assert_array_equal(read(tmp_path / "a.tif")[0], stored)


@pytest.mark.parametrize("factor", [256, 257])
def test_gray_palettes_give_their_levels(tmp_path, factor):
    levels = RANDOM.permutation(256).astype(np.uint16)
    indices = values("u1")
    palette = np.repeat((levels * factor)[None], 3, axis=0).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", indices, photometric="palette", colormap=palette)
    np.testing.assert_array_equal(read(tmp_path / "a.tif")[0], levels[indices])
    palette[2, indices[0, 0]] ^= 1 << 8
    tifffile.imwrite(tmp_path / "a.tif", indices, photometric="palette", colormap=palette)
    with pytest.raises(DistaxError, match="page 0: a colour image, whose 3 channels differ"):
        read(tmp_path / "a.tif")


def test_pages_of_another_type_than_the_first_are_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(values("u2"))
        file.write(BITS > 30_000, photometric="minisblack")
        file.write(values("u2"))
    with open_frames(tmp_path / "a.tif") as frames:
        assert len(frames) == 3
        with pytest.raises(
            DistaxError, match="page 1: has 1-bit bool, the first page 16-bit uint16"
        ):
            frames[1]
        frames[2].pixels[:]


def test_smaller_copies_and_transparency_masks_are_no_frames(tmp_path):
    stored = values("u2")
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(stored)
        file.write(stored[::2, ::2], subfiletype=1)
        file.write(stored + 1)
    pixels = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(pixels, [stored, stored + 1])


@pytest.mark.parametrize("options", [{"imagej": True}, {"photometric": "minisblack"}])
def test_stacks_that_one_page_describes_are_read_whole(tmp_path, options):
    stack = np.stack([values("u2") for _ in range(4)])
    tifffile.imwrite(tmp_path / "a.tif", stack, **options)
    np.testing.assert_array_equal(read(tmp_path / "a.tif"), stack)
    if "imagej" not in options:
        options |= {"truncate": True}
    tifffile.imwrite(tmp_path / "a.tif", stack, **options)
    content = tmp_path / "a.tif"
    if "imagej" in options:
        cut_chain(content)
    np.testing.assert_array_equal(read(content), stack)


def cut_chain(path):
    """Makes the first page the last, as ImageJ does in files beyond 4 GB."""
    with tifffile.TiffFile(path) as file:
        place, order = file.pages[0].offset, file.byteorder
    content = bytearray(path.read_bytes())
    (tags,) = struct.unpack_from(f"{order}H", content, place)
    struct.pack_into(f"{order}I", content, place + 2 + 12 * tags, 0)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"compression": "jpeg"}, "compressed by JPEG, which is not read; save it with LZW"),
        ({"photometric": "cielab"}, "its colours are CIELAB, which is not read; save it in gray"),
        ({"photometric": "cfa"}, "its colours are CFA, which is not read"),
    ],
)
def test_other_kinds_are_refused_with_advice(tmp_path, options, message):
    if options.get("photometric") == "cielab":
        tifffile.imwrite(tmp_path / "a.tif", np.ones((8, 8, 3), np.uint8), **options)
    else:
        tifffile.imwrite(tmp_path / "a.tif", values("u1"), **options)
    with pytest.raises(DistaxError, match=f"a.tif: page 0: .*{message}"):
        read(tmp_path / "a.tif")


def test_complex_values_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.ones((4, 4), np.complex64))
    with pytest.raises(DistaxError, match="page 0: holds complex64, not counts"):
        read(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_257": 10**9, "_278": 10**9}, "unpacks to 21 GB, more than the limit"),
        ({"_257": 10**6, "_278": 10**6}, "promises 21,000,000 bytes of pixels, but only 693 are"),
        ({"_257": 100, "_278": 100}, "stores 693 bytes, too few for its 100×21 pixels"),
        ({"_279": 10**6}, "its pixels lie beyond the end of the file"),
        ({"_273": 10**6}, "its pixels lie beyond the end of the file"),
        ({"_273": 0}, "its pixels lie beyond the end of the file"),
        ({"_278": 3}, r"incorrect StripByteCounts count .1 != 11."),
        ({"_277": 7}, "stores 693 bytes, too few for its 33×21 pixels"),
    ],
)
def test_tags_that_promise_too_much_are_refused(tmp_path, change, message):
    content = plain_tiff(values("u1").tobytes(), 8, **change)
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(DistaxError, match=message):
        read(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("predictor", "compression", "message"),
    [
        (2, 1, "says that values without compression are differences by predictor 2, which"),
        (3, 1, "says that values without compression are differences by predictor 3, which"),
        (3, 8, "says that integers are differences by predictor 3, which"),
    ],
)
def test_predictors_that_do_not_suit_the_values_are_refused(
    tmp_path, predictor, compression, message
):
    stored = values("u2").tobytes()
    content = zlib.compress(stored) if compression == 8 else stored
    tags = {"_259": compression, "_317": predictor}
    (tmp_path / "a.tif").write_bytes(plain_tiff(content, 16, **tags))
    with pytest.raises(DistaxError, match=f"a.tif: page 0: {message}"):
        read(tmp_path / "a.tif")


def test_a_circle_of_pages_and_a_lost_page_are_refused(tmp_path):
    content = plain_tiff(values("u1").tobytes(), 8)
    start = struct.unpack_from("<I", content, 4)[0]
    for following, message in ((start, "is an earlier one again"), (10**6, "lies beyond the end")):
        (tmp_path / "a.tif").write_bytes(content[:-4] + struct.pack("<I", following))
        with pytest.raises(DistaxError, match=message):
            read(tmp_path / "a.tif")
