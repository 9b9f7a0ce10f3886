import pytest

from distax.runtime.errors import first_line


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
