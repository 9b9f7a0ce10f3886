"""Plain values in TOML files."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from distax import DistaxError
from distax.runtime.settings import STRICT, from_plain, read_toml

DAY, TIME = "1979-05-27", "07:32:00"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"a = {DAY}", "a: 1979-05-27 is"),
        (f"a = {DAY}T{TIME}Z", "a: 1979-05-27 07:32:00"),
        (f"[a]\nb = [1, {TIME}]", "b: 07:32:00 is"),
        (f"[a.b]\nc = [[0.1], [0.2, [{DAY}]]]", "c: 1979-05-27 is"),
        (f"a = [[{{b = {{c = {TIME}}}}}]]", "c: 07:32:00 is"),
    ],
)
def test_a_date_is_named_wherever_it_stands(tmp_path, text, message):
    path = tmp_path / "a.toml"
    path.write_text(text)
    with pytest.raises(DistaxError, match=message):
        read_toml(path)


def test_a_pipe_or_a_device_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(DistaxError, match=f"{path}: is no regular file; write its content to"):
            read_toml(path)


@dataclass(frozen=True)
class Part:
    width: float
    height: float = 1.0

    __pydantic_config__ = STRICT


@dataclass(frozen=True)
class Whole:
    one: Part | None = None
    few: tuple[Part, ...] = ()
    named: dict[str, tuple[Part, ...]] | None = None

    __pydantic_config__ = STRICT


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ones": None}, "a: ones: is not a known key; did you mean 'one'"),
        ({"one": {"width": 1.0, "hight": 2.0}}, "a: one.hight: .* did you mean 'height'"),
        ({"one": {"width": "x"}}, "a: one.width: Input should be a valid number"),
        ({"few": [{"width": 1.0}, {"x": 1.0, "width": 1.0}]}, "few.1.x: .* known are width, hei"),
        ({"named": {"a": [{"width": 1.0, "widht": 1.0}]}}, "a: named.a.0.widht: .* mean 'width'"),
        ({"few": [{"height": 1.0}]}, "a: few.0.width: is missing"),
    ],
)
def test_a_value_is_named_by_its_keys(values, message):
    with pytest.raises(DistaxError, match=message):
        from_plain(Whole, values, "a")
