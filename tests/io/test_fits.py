import gzip
import warnings

import numpy as np
import pytest

from distax import DistaxError, DistaxWarning
from distax.io.frames import open_frames

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


def test_missing_values_of_integers_are_nan(tmp_path):
    hdu = fits.PrimaryHDU(PIXELS.astype("i2"))
    hdu.header["BLANK"] = 31
    with open_frames(write(tmp_path / "a.fits", hdu)) as (frame,):
        assert np.isnan(np.asarray(frame.pixels[:], float)[1, 1])


def test_the_first_flat_image_is_taken_unless_another_is_named(tmp_path):
    path = write(
        tmp_path / "a.fits",
        fits.PrimaryHDU(),
        fits.ImageHDU(np.zeros((3, 20, 30)), name="CUBE"),
        fits.BinTableHDU.from_columns([fits.Column("x", "E", array=[1.0])], name="LIST"),
        fits.ImageHDU(PIXELS[None], name="SCI"),
        fits.ImageHDU(2 * PIXELS, name="ERR"),
    )
    for extension, factor in ((None, 1), ("SCI", 1), ("ERR", 2), ("4", 2)):
        with open_frames(path, extension) as (frame,):
            np.testing.assert_array_equal(frame.pixels[4:6], factor * PIXELS[4:6])
    for extension, message in (
        ("DQ", "no extension 'DQ'; it holds 0 PRIMARY"),
        ("9", "no extension '9'"),
        ("CUBE", "1 CUBE .3×20×30., not a two-dimensional image"),
        ("LIST", r"2 LIST \(a table\), not a two-dimensional image"),
    ):
        with pytest.raises(DistaxError, match=message), open_frames(path, extension):
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


def save_cut(path):
    write(path, fits.PrimaryHDU(PIXELS))
    path.write_bytes(path.read_bytes()[:3000])


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("none.fits", lambda path: None, "no such file"),
        ("text.fits", lambda path: path.write_text("hello"), "a truncated or damaged FITS file"),
        ("empty.fits", lambda path: path.write_bytes(b""), "a truncated or damaged FITS file"),
        ("cut.fits", save_cut, "a truncated or damaged FITS file"),
        ("cut.fits.gz", lambda path: path.write_bytes(b"\x1f\x8b\x08"), "a truncated or damaged"),
        ("void.fits", lambda path: write(path, fits.PrimaryHDU()), "no two-dimensional image"),
        (
            "cube.fits",
            lambda path: write(path, fits.PrimaryHDU(np.zeros((3, 4, 5)))),
            "no two-dimensional image in it; it holds 0 PRIMARY .3×4×5.",
        ),
    ],
)
def test_an_unreadable_file_is_named_in_one_line(tmp_path, name, make, message):
    make(tmp_path / name)
    with pytest.raises(DistaxError, match=message) as error, open_frames(tmp_path / name):
        pass
    assert str(error.value).startswith(str(tmp_path / name))
    assert "\n" not in str(error.value)
