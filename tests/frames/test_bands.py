import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from distax.frames.bands import bands, read_rows


@given(height=st.integers(1, 60), rows=st.integers(1, 70), margin=st.integers(0, 20))
def test_every_row_is_in_one_band_with_its_margin(height, rows, margin):
    parts = list(bands((height, 5), rows, margin))
    assert [row for band in parts for row in range(band.first, band.last)] == list(range(height))
    for band in parts:
        assert band.start == max(0, band.first - margin)
        assert band.stop == min(height, band.last + margin)


def test_infinite_and_masked_pixels_are_nan():
    (band,) = bands((2, 3), 9, 0)
    pixels = np.array([[1, np.inf, np.nan], [-np.inf, 2, 3]], ">f4")
    expected = [[1, np.nan, np.nan], [np.nan, 2, 3]]
    np.testing.assert_array_equal(read_rows(pixels, band), expected)
    masked = np.ma.masked_array(pixels, mask=[[1, 0, 0], [0, 0, 0]])
    assert np.isnan(read_rows(masked, band)[0, 0])
    large = np.full((2, 3), 2**40 + 1, ">i8")
    np.testing.assert_array_equal(read_rows(large, band), large)
