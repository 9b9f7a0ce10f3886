"""Plain values in TOML files."""

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
