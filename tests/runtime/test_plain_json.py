"""JSON of any content is parsed, or refused by one kind of error."""

import pytest

from distax import DistaxError
from distax.runtime.plain_json import format_json, parse_json, parse_table, write_json


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


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_json_lacks_is_named_and_no_file_is_written(tmp_path, number):
    path = tmp_path / "a.json"
    with pytest.raises(DistaxError, match=rf"a.json: not written, as b.1.c is {number}, which"):
        write_json(path, {"a": 0.5, "b": [1, {"c": number}]})
    assert not path.exists()


def test_what_is_written_is_parsed_again(tmp_path):
    values = {"a": [1, 2.5, None, "µ"]}
    write_json(tmp_path / "a.json", values)
    text = (tmp_path / "a.json").read_text()
    assert parse_json(text) == values == parse_json(format_json("", values))
    assert "\n" in text.strip()
