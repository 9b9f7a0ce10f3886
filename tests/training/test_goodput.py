import json
import time

import pytest

from distax import DistaxError
from distax.training.goodput import Goodput


def test_seconds_sum_to_the_total_and_are_those_spent():
    goodput = Goodput()
    with goodput.spend("steps"):
        time.sleep(0.05)
    with goodput.spend("saving"):
        time.sleep(0.02)
    with goodput.spend("steps"):
        time.sleep(0.05)
    seconds = goodput.seconds()
    assert seconds["steps"] == pytest.approx(0.1, abs=0.04)
    assert seconds["saving"] == pytest.approx(0.02, abs=0.02)
    total = seconds.pop("total")
    assert sum(seconds.values()) == pytest.approx(total, abs=1e-6)
    assert goodput.summary().startswith("time: 0 s, of which steps ")


def test_time_in_a_step_that_fails_counts():
    goodput = Goodput()

    def fail():
        with goodput.spend("steps"):
            time.sleep(0.01)
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert goodput.seconds()["steps"] > 0.005


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    Goodput().write(tmp_path / "goodput.json")
    assert "total" in json.loads((tmp_path / "goodput.json").read_text())
    (tmp_path / "file").touch()
    with pytest.raises(DistaxError, match=r"file/goodput.json: cannot be written"):
        Goodput().write(tmp_path / "file" / "goodput.json")
