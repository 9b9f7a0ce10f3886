"""JSON of any content is parsed, or refused by one kind of error."""

import pytest

from distax.runtime.plain_json import parse_json, parse_table


@pytest.mark.parametrize("text", ["", "{", b"\xff", '{"a": 0x1}', "[" * 10**5, "9" * 5000])
def test_what_is_not_json_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)


@pytest.mark.parametrize("text", ["3", "[]", "null", '"a"', "[" * 10**5 + "]" * 10**5])
def test_what_is_no_table_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"no table|nested too deeply"):
        parse_table(text)


def test_a_table_is_parsed():
    assert parse_table(b'{"a": [1, 2.5, null]}') == {"a": [1, 2.5, None]}
