"""Plain values in TOML files."""

import os
from pathlib import Path

import pytest

from distax import DistaxError
from distax.runtime.settings import read_toml

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
