import pytest

from distax import DistaxError
from distax.runtime.errors import check_not_negative, check_positive, finite, first_line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("malformed node on line 1: <ast.Call object at 0x7f12ab34>", "malformed node on line 1"),
        ("<a.B object at 0x7f> cannot be read\nmore", "cannot be read"),
        ("", "ValueError"),
        ("x" * 300, "x" * 200),
    ],
)
def test_a_first_line_is_short_and_has_no_addresses(text, line):
    assert first_line(ValueError(text)) == line


@pytest.mark.parametrize("value", [1e308, -1e39, 10**40])
def test_numbers_that_32_bits_do_not_hold_are_refused(value):
    with pytest.raises(DistaxError, match=r"a must be at most 3\.4e\+38 in size, got"):
        finite("a", value)
    assert finite("a", 3e38) == 3e38


def test_a_number_that_is_zero_in_32_bits_is_not_positive():
    with pytest.raises(DistaxError, match=r"sigma must be at least 1\.2e-38, got 1e-320"):
        check_positive(sigma=1e-320)
    check_positive(sigma=2e-38)
    check_not_negative(sigma=1e-320)
