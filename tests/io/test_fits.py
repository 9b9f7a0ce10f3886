import gzip
import warnings

import numpy as np
import pytest

from distax import DistaxError, DistaxWarning
from distax.io.frames import open_frames
from distax.io.reading import Reading

fits = pytest.importorskip("astropy.io.fits")
PIXELS = np.arange(20 * 30, dtype=np.float32).reshape(20, 30)


def sky_header(**more):
    header = fits.Header()
    header.update(CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CRVAL1=150.0, CRVAL2=2.0)
    header.update(CRPIX1=1.0, CRPIX2=1.0, CDELT1=-0.001, CDELT2=0.002, **more)
    return header


def write(path, *hdus):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fits.HDUList(list(hdus)).writeto(path)
    return path


@pytest.mark.parametrize("dtype", ["u1", ">i2", "u2", "<i4", ">i8", "<f4", ">f8"])
@pytest.mark.parametrize("kind", [fits.PrimaryHDU, fits.ImageHDU])
def test_rows_come_as_stored_whatever_their_type(tmp_path, dtype, kind):
    hdus = [kind(PIXELS.astype(dtype))]
    if kind is fits.ImageHDU:
        hdus.insert(0, fits.PrimaryHDU())
    path = write(tmp_path / "a.fits", *hdus)
    with open_frames(path) as (frame,):
        assert frame.shape == (20, 30)
        np.testing.assert_array_equal(frame.pixels[3:7], PIXELS.astype(dtype)[3:7])
        np.testing.assert_array_equal(frame.pixels[:], PIXELS.astype(dtype))


def test_compressed_and_gzipped_files_are_read_like_others(tmp_path):
    path = write(tmp_path / "a.fits", fits.PrimaryHDU(), fits.CompImageHDU(PIXELS.astype("i4")))
    plain = write(tmp_path / "b.fits", fits.PrimaryHDU(PIXELS))
    (tmp_path / "c.fits.gz").write_bytes(gzip.compress(plain.read_bytes()))
    for name in (path, tmp_path / "c.fits.gz"):
        with open_frames(name) as (frame,):
            np.testing.assert_array_equal(frame.pixels[5:9], PIXELS[5:9])


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "i8", "f4", "f8"])
@pytest.mark.parametrize(("scale", "zero"), [(1, -128), (0.5, 10.0), (1, 32768), (1.0, 2.0**31)])
def test_scaled_values_are_those_that_the_header_describes(tmp_path, dtype, scale, zero):
    stored = np.random.default_rng(7).integers(0, 120, (20, 30)).astype(dtype)
    for kind in (fits.ImageHDU, *([] if dtype in ("i8", "f4", "f8") else [fits.CompImageHDU])):
        for number in (int, float):
            path = tmp_path / f"{kind.__name__}{number.__name__}.fits"
            write(path, fits.PrimaryHDU(), kind(stored))
            with fits.open(path, "update", disable_image_compression=True) as parts:
                header = parts[1].header
                header["BSCALE"], header["BZERO"] = number(scale) or scale, number(zero)
            with open_frames(path) as (frame,):
                np.testing.assert_array_equal(
                    frame.pixels[3:9], stored[3:9] * np.float64(number(scale) or scale) + zero
                )


@pytest.mark.parametrize("dtype", ["i1", "u2", "u4", "u8"])
def test_integers_that_are_stored_with_an_offset_stay_integers(tmp_path, dtype):
    limits = np.iinfo(dtype)
    stored = np.array([[limits.min, limits.max], [limits.max // 2, 60]], dtype)
    with open_frames(write(tmp_path / "a.fits", fits.PrimaryHDU(stored))) as (frame,):
        np.testing.assert_array_equal(frame.pixels[:], stored)
        assert frame.pixels[:].dtype == stored.dtype


def test_missing_values_of_integers_are_nan(tmp_path):
    hdu = fits.PrimaryHDU(PIXELS.astype("i2"))
    hdu.header["BLANK"] = 31
    with open_frames(write(tmp_path / "a.fits", hdu)) as (frame,):
        assert np.isnan(np.asarray(frame.pixels[:], float)[1, 1])


def test_the_planes_of_a_cube_are_frames(tmp_path):
    cube = np.stack([PIXELS, PIXELS + 1, PIXELS + 2, PIXELS + 3]).astype(np.int16)
    for shape in ((4, 20, 30), (2, 2, 20, 30), (4, 1, 20, 30)):
        path = write(
            tmp_path / f"{len(shape)}{shape[0]}.fits", fits.PrimaryHDU(cube.reshape(shape))
        )
        packed = write(
            tmp_path / f"{len(shape)}{shape[0]}.fits.fz",
            fits.PrimaryHDU(),
            fits.CompImageHDU(cube.reshape(shape)),
        )
        for name in (path, packed):
            with open_frames(name) as frames:
                assert len(frames) == 4
                for number, frame in enumerate(frames):
                    assert frame.shape == (20, 30)
                    np.testing.assert_array_equal(frame.pixels[2:5], cube[number, 2:5])


def test_the_first_image_is_taken_unless_another_is_named(tmp_path):
    path = write(
        tmp_path / "a.fits",
        fits.PrimaryHDU(),
        fits.ImageHDU(np.zeros((3, 20, 30)), name="CUBE"),
        fits.BinTableHDU.from_columns([fits.Column("x", "E", array=[1.0])], name="LIST"),
        fits.ImageHDU(PIXELS[None], name="SCI"),
        fits.ImageHDU(2 * PIXELS, name="ERR"),
    )
    for extension, factor in (("SCI", 1), ("SCI,1", 1), ("ERR", 2), ("4", 2)):
        with open_frames(path, Reading(extension=extension)) as (frame,):
            np.testing.assert_array_equal(frame.pixels[4:6], factor * PIXELS[4:6])
    for extension, message in (
        ("DQ", "no extension 'DQ'; it holds 0 PRIMARY"),
        ("9", "no extension '9'"),
        ("PRIMARY", "0 PRIMARY .empty., not a two-dimensional image"),
        ("LIST", r"2 LIST \(a table\), not a two-dimensional image"),
    ):
        with (
            pytest.raises(DistaxError, match=message),
            open_frames(path, Reading(extension=extension)),
        ):
            pass


def test_the_header_tells_units_saturation_and_sky(tmp_path):
    header = sky_header(BUNIT=" adu ", SATURATE=60000)
    with open_frames(write(tmp_path / "a.fits", fits.PrimaryHDU(PIXELS, header))) as (frame,):
        assert (frame.unit, frame.saturation) == ("adu", 60000.0)
        ra, dec = frame.sky(np.array([0.0, 2.5]), np.array([0.0, 4.0]))
    # On so small a field the projection is flat to a few billionths of a degree.
    np.testing.assert_allclose(dec, [2.0, 2.005], atol=1e-6)
    np.testing.assert_allclose(ra, [150.0, 150 - 0.004 / np.cos(np.radians(2.0))], atol=1e-6)


def test_a_frame_without_a_sky_has_none(tmp_path):
    with open_frames(write(tmp_path / "a.fits", fits.PrimaryHDU(PIXELS))) as (frame,):
        assert (frame.sky, frame.unit, frame.saturation) == (None, "", None)
    odd = write(tmp_path / "b.fits", fits.PrimaryHDU(PIXELS, sky_header(CUNIT1="m")))
    with (
        pytest.warns(DistaxWarning, match=r"b\.fits: its sky .* left out"),
        open_frames(odd) as (frame,),
    ):
        assert frame.sky is None


def warned(message):
    return pytest.warns(DistaxWarning, match=message)


def bad_pixels():
    marks = np.zeros((20, 30), np.int16)
    marks[3, 4] = 1
    marks[7, 2:4] = 512
    return marks


@pytest.mark.parametrize("name", ["DQ", "MASK", "BPM", "dq"])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_mask_extension_marks_bad_pixels(tmp_path, name, compressed):
    kind = fits.CompImageHDU if compressed else fits.ImageHDU
    path = write(
        tmp_path / "a.fits",
        fits.PrimaryHDU(),
        kind(bad_pixels(), name=name),
        fits.ImageHDU(PIXELS.astype("u2"), name="SCI"),
    )
    message = f"extension {name.upper()} marks are left out"
    with warned(message), open_frames(path) as (frame,):
        rows = frame.pixels[2:9]
        np.testing.assert_array_equal(rows, np.where(bad_pixels(), np.nan, PIXELS)[2:9])
        np.testing.assert_array_equal(frame.stored[:], PIXELS)
        assert (rows.dtype, frame.stored[:].dtype) == (np.float32, np.uint16)
    with open_frames(path, Reading(mask="none")) as (frame,):
        np.testing.assert_array_equal(frame.pixels[:], PIXELS)


def test_a_mask_is_that_of_the_same_version_and_size(tmp_path):
    hdus = [fits.PrimaryHDU()]
    for version in (1, 2):
        marks = np.zeros((20, 30), np.uint8)
        marks[version] = 1
        hdus.append(fits.ImageHDU(PIXELS, name="SCI", ver=version))
        hdus.append(fits.ImageHDU(marks, name="DQ", ver=version))
    hdus.append(fits.ImageHDU(np.ones((3, 3), np.uint8), name="MASK"))
    path = write(tmp_path / "a.fits", *hdus)
    for extension, row in (("SCI,1", 1), ("SCI,2", 2)):
        with (
            pytest.warns(DistaxWarning, match="DQ"),
            open_frames(path, Reading(extension)) as (frame,),
        ):
            assert np.flatnonzero(np.isnan(frame.pixels[:]).any(axis=1)).tolist() == [row]
    with open_frames(path, Reading("SCI,2", mask="DQ,1")) as (frame,):
        assert np.isnan(frame.pixels[:][1]).all()
    with (
        pytest.raises(DistaxError, match=r"MASK is 5 MASK .3×3., no mask for 1 SCI"),
        open_frames(path, Reading(mask="MASK")),
    ):
        pass


@pytest.mark.parametrize("shape", [(20, 30), (2, 20, 30)])
def test_a_mask_is_for_all_planes_of_a_cube_or_for_each(tmp_path, shape):
    marks = np.zeros(shape, np.uint8)
    marks[..., 0, 0] = 1
    marks[0, ..., 1] = 1  # a row of the one mask, or a column of the first
    path = write(
        tmp_path / "a.fits",
        fits.PrimaryHDU(np.stack([PIXELS, PIXELS])),
        fits.ImageHDU(marks, name="MASK"),
    )
    with warned("MASK"), open_frames(path) as frames:
        for number, frame in enumerate(frames):
            expected = marks if marks.ndim == 2 else marks[number]
            np.testing.assert_array_equal(np.isnan(frame.pixels[:]), expected > 0)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (0, "is not positive"),
        (-5, "is not positive"),
        (True, "is no number"),
        ("big", "is no number"),
        (3.5, "lies below most pixels, which have about 299.5"),
    ],
)
@pytest.mark.parametrize("keyword", ["SATURATE", "SATLEVEL"])
def test_a_saturation_that_is_none_is_left_out_by_name(tmp_path, keyword, value, problem):
    hdu = fits.PrimaryHDU(PIXELS)
    hdu.header[keyword] = value
    path = write(tmp_path / "a.fits", hdu)
    message = rf"a\.fits: {keyword} = {value} {problem}.*--frame\.saturation"
    with warned(message), open_frames(path) as (frame,):
        assert frame.saturation is None


def test_a_damaged_keyword_is_left_out_by_name(tmp_path):
    path = write(tmp_path / "a.fits", fits.PrimaryHDU(PIXELS, fits.Header([("BUNIT", "adu")])))
    path.write_bytes(path.read_bytes().replace(b"BUNIT   = 'adu     '", b"BUNIT   = {}        "))
    with warned("keyword BUNIT is damaged"), open_frames(path) as (frame,):
        assert frame.unit == ""
        np.testing.assert_array_equal(frame.pixels[:], PIXELS)


def test_sky_coordinates_that_would_take_all_memory_are_left_out(tmp_path):
    for card in ({"WCSAXES": 50_000}, {"A_ORDER": 100_000, "B_ORDER": 100_000}):
        path = tmp_path / f"{next(iter(card))}.fits"
        write(path, fits.PrimaryHDU(PIXELS, sky_header(**card)))
        with (
            pytest.warns(DistaxWarning, match="its sky .* left out"),
            open_frames(path) as (frame,),
        ):
            assert frame.sky is None


def save_cut(path):
    write(path, fits.PrimaryHDU(PIXELS))
    path.write_bytes(path.read_bytes()[:3000])


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("none.fits", lambda path: None, "no such file"),
        (
            "text.fits",
            lambda path: path.write_text("hello"),
            "a damaged FITS file, or none",
        ),
        ("empty.fits", lambda path: path.write_bytes(b""), "the file is empty"),
        ("cut.fits", save_cut, "its header promises 2,400 bytes of data, but 120 are there"),
        ("cut.fits.gz", lambda path: path.write_bytes(b"\x1f\x8b\x08"), "a truncated or damaged"),
        ("void.fits", lambda path: write(path, fits.PrimaryHDU()), "no two-dimensional image"),
    ],
)
def test_an_unreadable_file_is_named_in_one_line(tmp_path, name, make, message):
    make(tmp_path / name)
    with pytest.raises(DistaxError, match=message) as error, open_frames(tmp_path / name):
        pass
    assert str(error.value).startswith(str(tmp_path / name))
    assert "\n" not in str(error.value)


def test_a_header_with_other_than_text_is_warned_of_and_the_image_is_read(tmp_path):
    path = tmp_path / "a.fits"
    pixels = np.arange(600.0, dtype=np.float32).reshape(20, 30)
    parts = [fits.PrimaryHDU(), fits.ImageHDU(pixels), fits.ImageHDU(pixels, name="ERR")]
    fits.HDUList(parts).writeto(path)
    good = path.read_bytes()
    name = good.index(b"EXTNAME = 'ERR")
    for damage, lines in ((b"\x00" * 8, 1), (b"\x07" * 100, 2)):
        end = name + 80  # of the last line before END
        path.write_bytes(good[: end - len(damage)] + damage + good[end:])
        line = rf"a.fits: part 2: {lines} lines of its header hold no text; this part is damaged"
        with pytest.warns(DistaxWarning, match=line), open_frames(path) as frames:
            np.testing.assert_array_equal(frames[0].pixels[:], pixels)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path.write_bytes(good[:name] + b"HISTORY a\tb" + good[name + 11 :])
        with open_frames(path) as frames:
            assert len(frames) == 1
