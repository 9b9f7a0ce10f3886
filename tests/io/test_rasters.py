"""Exactness of PNG, BMP and JPEG, against files that are assembled here byte by byte."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from distax import DistaxError, DistaxWarning
from distax.io.frames import open_frames
from distax.io.reading import Reading

RANDOM = np.random.default_rng(3)
LEVELS = RANDOM.integers(0, 2**16, (5, 9))
GRAY, RGB, PALETTE, GRAY_ALPHA, RGBA = 0, 2, 3, 4, 6


def chunk(kind, content):
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def packed_rows(samples, depth, order=">"):
    """Packs rows `[height, width, channels]` into bytes, most significant bit first."""
    flat = samples.reshape(len(samples), -1)
    if depth >= 8:
        return [row.astype(f"{order}u{depth // 8}").tobytes() for row in flat]
    bits = np.unpackbits(flat.astype(np.uint8)[..., None], axis=-1)[..., 8 - depth :]
    return [np.packbits(row).tobytes() for row in bits.reshape(len(flat), -1)]


def png(samples, depth, colour, *chunks):
    """Writes a PNG of samples `[height, width, channels]`."""
    header = struct.pack(">2I5B", samples.shape[1], len(samples), depth, colour, 0, 0, 0)
    rows = b"".join(b"\0" + row for row in packed_rows(samples, depth))
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def bmp(indices, depth, palette):
    """Writes a BMP of indices `[height, width]` into a palette `[entries, 3]`."""
    stride = (indices.shape[1] * depth + 31) // 32 * 4
    rows = [row.ljust(stride, b"\0") for row in packed_rows(indices[..., None], depth)]
    colours = b"".join(bytes([*entry[::-1], 0]) for entry in np.asarray(palette).tolist())
    start = 54 + len(colours)
    size = start + len(rows) * stride
    return (
        struct.pack("<2sI2HI", b"BM", size, 0, 0, start)
        + struct.pack("<I2i2H6I", 40, *indices.shape[::-1], 1, depth, 0, 0, 0, 0, len(palette), 0)
        + colours
        + b"".join(rows[::-1])
    )


def read(tmp_path, content, name="a.png", **settings):
    path = tmp_path / name
    path.write_bytes(content)
    with open_frames(path, Reading(**settings)) as (frame,):
        assert frame.shape == frame.pixels[:].shape
        return frame.pixels[:]


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_gray_png_values_come_as_stored_at_every_depth(tmp_path, depth):
    stored = LEVELS >> (16 - depth)
    pixels = read(tmp_path, png(stored[..., None], depth, GRAY))
    np.testing.assert_array_equal(pixels, stored)
    assert pixels.dtype == (np.uint16 if depth == 16 else np.uint8)
    # A transparent level is a remark on the picture, and no change of its counts.
    remark = (b"tRNS", struct.pack(">H", int(stored[0, 0])))
    np.testing.assert_array_equal(
        read(tmp_path, png(stored[..., None], depth, GRAY, remark)), stored
    )


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize(("colour", "channels"), [(RGB, 3), (GRAY_ALPHA, 1), (RGBA, 3)])
def test_equal_channels_with_even_alpha_are_the_one_channel(tmp_path, depth, colour, channels):
    stored = LEVELS >> (16 - depth)
    samples = np.repeat(stored[..., None], channels, axis=-1)
    if colour in (GRAY_ALPHA, RGBA):
        samples = np.concatenate([samples, np.full((5, 9, 1), 2**depth - 1)], axis=-1)
    np.testing.assert_array_equal(read(tmp_path, png(samples, depth, colour)), stored)
    if colour == GRAY_ALPHA:
        samples[2, 3, -1] = 0
        with pytest.raises(DistaxError, match=r"a\.png: its alpha channel varies"):
            read(tmp_path, png(samples, depth, colour))
        pixels = read(tmp_path, png(samples, depth, colour), channel="0")
        np.testing.assert_array_equal(pixels, stored)
        return
    samples[2, 3, 1] ^= 1
    with pytest.raises(DistaxError, match=r"3 channels differ; choose one by --channel 0 .red. to"):
        read(tmp_path, png(samples, depth, colour))
    pixels = read(tmp_path, png(samples, depth, colour), channel="1")
    np.testing.assert_array_equal(pixels, samples[..., 1])
    mean = read(tmp_path, png(samples, depth, colour), channel="mean")
    np.testing.assert_allclose(mean, samples[..., :3].mean(axis=-1), rtol=1e-6)
    with pytest.raises(DistaxError, match="has no colour channel 3; it has 3"):
        read(tmp_path, png(samples, depth, colour), channel="3")


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_gray_palettes_give_their_levels_and_colours_are_refused(tmp_path, depth):
    entries = 2**depth
    levels = RANDOM.permutation(256)[:entries].astype(np.uint8)
    indices = LEVELS % entries
    palette = np.repeat(levels[:, None], 3, axis=1)
    opaque = (b"tRNS", bytes([255]) * (entries // 2))

    def stored(*chunks):
        return png(indices[..., None], depth, PALETTE, (b"PLTE", palette.tobytes()), *chunks)

    np.testing.assert_array_equal(read(tmp_path, stored()), levels[indices])
    np.testing.assert_array_equal(read(tmp_path, stored(opaque)), levels[indices])
    with pytest.raises(DistaxError, match="its alpha channel varies"):
        read(tmp_path, stored((b"tRNS", bytes([7] + [255] * (entries - 1)))))
    palette[int(indices[0, 0]), 2] ^= 1
    with pytest.raises(DistaxError, match="3 channels differ"):
        read(tmp_path, stored())
    np.testing.assert_array_equal(read(tmp_path, stored(), channel="0"), levels[indices])


@pytest.mark.parametrize("depth", [1, 4, 8])
@pytest.mark.parametrize("kind", ["ramp", "reversed", "stretched", "black and white"])
def test_bmp_palettes_give_their_levels(tmp_path, depth, kind):
    entries = 2**depth
    levels = {
        "ramp": np.arange(entries),
        "reversed": np.arange(entries)[::-1],
        "stretched": np.arange(entries) * 255 // max(entries - 1, 1),
        "black and white": np.array([0, 255]),
    }[kind]
    indices = LEVELS % len(levels)
    content = bmp(indices, depth, np.repeat(levels[:, None], 3, axis=1))
    np.testing.assert_array_equal(read(tmp_path, content, "a.bmp"), levels[indices])


@pytest.mark.parametrize(("green", "mask"), [(31, None), (31, 0x3E0), (63, 0x7E0)])
def test_colours_of_16_bit_bmp_files_are_not_rescaled(tmp_path, green, mask):
    levels = np.arange(64).reshape(4, 16)
    samples = levels % 32, levels % (green + 1), (levels + 5) % 32
    red_shift = 11 if green == 63 else 10
    pixels = samples[0] << red_shift | samples[1] << 5 | samples[2]
    masks = b"" if mask is None else struct.pack("<3I", 31 << red_shift, mask, 31)
    rows = b"".join(row.astype("<u2").tobytes() for row in pixels[::-1])
    start = 54 + len(masks)
    content = (
        struct.pack("<2sI2HI", b"BM", start + len(rows), 0, 0, start)
        + struct.pack("<I2i2H6I", 40, 16, 4, 1, 16, 3 if masks else 0, 0, 0, 0, 0, 0)
        + masks
        + rows
    )
    for channel, expected in enumerate(samples):
        values = read(tmp_path, content, "a.bmp", channel=str(channel))
        np.testing.assert_array_equal(values, expected)


def test_bmp_colours_are_read_if_they_are_equal(tmp_path):
    gray = (LEVELS >> 8).astype(np.uint8)
    for channels in (3, 4):
        content = io.BytesIO()
        Image.fromarray(np.repeat(gray[..., None], channels, axis=-1)[..., :3]).save(content, "BMP")
        np.testing.assert_array_equal(read(tmp_path, content.getvalue(), "a.bmp"), gray)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg_is_read_with_a_warning(tmp_path, mode):
    content = io.BytesIO()
    Image.fromarray(np.full((16, 24), 57, np.uint8)).convert(mode).save(content, "JPEG")
    with pytest.warns(DistaxWarning, match=r"a\.jpg: JPEG changes pixels in blocks"):
        pixels = read(tmp_path, content.getvalue(), "a.jpg")
    # An even image survives the compression.
    np.testing.assert_array_equal(pixels, np.full((16, 24), 57))


def test_an_animation_is_refused(tmp_path):
    frames = [Image.fromarray(np.full((4, 4), k, np.uint8)) for k in range(2)]
    content = io.BytesIO()
    frames[0].save(content, "PNG", save_all=True, append_images=frames[1:])
    with pytest.raises(DistaxError, match="an animation of 2 images; save each to a file"):
        read(tmp_path, content.getvalue())


def test_a_wrong_checksum_is_damage(tmp_path):
    content = bytearray(png(LEVELS[..., None], 16, GRAY))
    content[-20] ^= 1  # in the checksum of the pixels
    with pytest.raises(DistaxError, match="a truncated or damaged PNG file"):
        read(tmp_path, bytes(content))


@pytest.mark.parametrize(("depth", "colour"), [(1, GRAY), (8, GRAY), (16, GRAY), (8, RGB)])
def test_missing_rows_are_damage(tmp_path, depth, colour):
    samples = np.repeat(LEVELS[..., None] % 2**depth, 3 if colour == RGB else 1, axis=-1)
    taller = bytearray(png(samples, depth, colour))
    taller[16:24] = struct.pack(">2I", 9, 6)  # its five rows are whole
    taller[29:33] = struct.pack(">I", zlib.crc32(taller[12:29]))
    with pytest.raises(DistaxError, match=r"it holds .* bytes of rows"):
        read(tmp_path, bytes(taller))


@pytest.mark.parametrize(("width", "height"), [(1, 1), (3, 2), (9, 13), (24, 17)])
def test_interlaced_images_are_whole(tmp_path, width, height):
    levels = RANDOM.integers(0, 256, (height, width))
    passes = ["0088", "4088", "0448", "2044", "0224", "1022", "0112"]
    rows = b""
    for column, row, across, down in (map(int, numbers) for numbers in passes):
        part = levels[row::down, column::across]
        rows += b"".join(b"\0" + line.astype(np.uint8).tobytes() for line in part if part.size)
    header = struct.pack(">2I5B", width, height, 8, GRAY, 0, 0, 1)
    for held, whole in ((rows, True), (rows[:-1], False)):
        parts = (b"IHDR", header), (b"IDAT", zlib.compress(held)), (b"IEND", b"")
        content = b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)
        if whole:
            np.testing.assert_array_equal(read(tmp_path, content), levels)
        else:
            with pytest.raises(DistaxError, match="a truncated or damaged PNG file"):
                read(tmp_path, content)


def test_sizes_that_a_file_cannot_hold_are_refused(tmp_path):
    huge = bytearray(png(LEVELS[..., None], 8, GRAY))
    huge[16:24] = struct.pack(">2I", 13_000, 13_000)
    huge[29:33] = struct.pack(">I", zlib.crc32(huge[12:29]))
    with pytest.raises(DistaxError, match="promises 169,000,000 bytes of pixels, but only"):
        read(tmp_path, bytes(huge))
    with pytest.raises(DistaxError, match=r"unpacks to .* GB, more than the limit"):
        read(tmp_path, png(LEVELS[..., None], 8, GRAY), max_bytes=40)
    huge[16:24] = struct.pack(">2I", 100_000, 100_000)
    huge[29:33] = struct.pack(">I", zlib.crc32(huge[12:29]))
    with pytest.raises(DistaxError, match="too large for this format; store it as FITS or NPY"):
        read(tmp_path, bytes(huge))
