import warnings

import numpy as np
import pytest

from distax import DistaxWarning
from distax.io.frames import open_frames

pytest.importorskip("astropy")
CARDS = {
    "SIMPLE": "T",
    "BITPIX": "8",
    "NAXIS": "2",
    "NAXIS1": "30",
    "NAXIS2": "20",
    "CTYPE1": "'RA---TAN'",
    "CTYPE2": "'DEC--TAN'",
    "CRVAL1": "10.0",
    "CRVAL2": "20.0",
    "CRPIX1": "1.0",
    "CRPIX2": "1.0",
    "CDELT1": "0.001",
    "CDELT2": "0.001",
}


def sky(path, **more):
    """Returns the sky position of the first pixel in a file with more cards, or None."""
    cards = (f"{keyword:<8}= {value}".ljust(80) for keyword, value in (CARDS | more).items())
    header = ("".join(cards) + "END").ljust(2880)
    path.write_bytes(header.encode() + bytes(2880))
    with open_frames(path) as (frame,):
        return frame.sky and tuple(float(value[0]) for value in frame.sky(*np.zeros((2, 1))))


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"CRVAL1": "NaN"}, "CRVAL1 is 'NaN', no number"),
        ({"CRVAL1": "'10.0'"}, "CRVAL1 is .*10.0.*, no number"),
        ({"CRVAL2": "12abc"}, "CRVAL2 is '12abc', no number"),
        ({"CRPIX1": ""}, "CRPIX1 is '', no number"),
        ({"CDELT2": "T"}, "CDELT2 is 'T', no number"),
        ({"CD1_1": "'x'", "CD2_2": "0.001"}, "CD1_1 is .*, no number"),
        ({"LONPOLE": "NaN"}, "LONPOLE is 'NaN', no number"),
        ({"EQUINOX": "'<b>'"}, "EQUINOX is .*, no number"),
        ({"A_ORDER": "2", "B_ORDER": "2", "A_2_0": "NaN"}, "A_2_0 is 'NaN', no number"),
        ({"CRVAL1": "1e300"}, r"CRVAL has 1e\+300, at most 1e\+09"),
        ({"CRPIX1": "1e300"}, r"CRPIX has 1e\+300, at most 1e\+09"),
        ({"LONPOLE": "1e300"}, r"LONPOLE or LATPOLE has 1e\+300"),
        ({"CDELT1": "1e10"}, r"a pixel of 1e\+10°, at most 360°"),
        ({"CTYPE1": "'RA---ZPN'", "CTYPE2": "'DEC--ZPN'", "PV2_1": "1e308"}, r"PV has 1e\+308"),
        ({"A_ORDER": "2", "B_ORDER": "2", "A_2_0": "1e300"}, r"\(SIP\) has 1e\+300"),
        ({"WCSAXES": "999999"}, "WCSAXES is '999999', no number up to 8"),
        ({"WCSAXES": "'x'"}, "WCSAXES is .*, no number up to 8"),
        ({"A_ORDER": "99999"}, "A_ORDER is '99999', no number up to 9"),
        ({"CTYPE1": "'RA---TAB'", "PS1_0": "'x'"}, "is known for 'RA---TAB DEC--TAN'"),
        ({"RADESYS": "'ODD'"}, "no conversion to the sky is known for 'RA---TAN DEC--TAN ODD'"),
        ({"CTYPE1": "'RA---XXX'"}, r"Unrecognized projection code \(XXX in CTYPE1\)"),
        ({"CDELT1": "0.0"}, "matrix is singular"),
    ],
)
def test_positions_that_cannot_be_relied_on_are_left_out(tmp_path, more, reason):
    with pytest.warns(DistaxWarning, match=f"its sky coordinates are left out .*{reason}") as told:
        assert sky(tmp_path / "a.fits", **more) is None
    (line,) = (str(one.message) for one in told)
    assert "wcslib" not in line
    assert "object" not in line


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"CRVAL1": "1.0D1", "CD1_1": "1.0D-3 / degrees", "CD2_2": "0.1D-2"},
        {"CRVAL1": "370.0"},
        {"CTYPE3": "'FREQ'", "CRVAL3": "1.4e10", "CDELT3": "1e6", "CRPIX3": "1"},
        {"CTYPE3": "'FREQ'", "CRVAL3": "'x'"},
    ],
)
def test_numbers_of_every_form_give_the_position(tmp_path, more):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sky(tmp_path / "a.fits", **more) == pytest.approx((10.0, 20.0), abs=1e-9)


@pytest.mark.parametrize("kind", ["LINEAR", ""])
def test_images_without_a_sky_are_read_without_a_word(tmp_path, kind):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        axes = {"CTYPE1": f"'{kind}'", "CTYPE2": f"'{kind}'"}
        assert sky(tmp_path / "a.fits", **axes, CRVAL1="NaN") is None
