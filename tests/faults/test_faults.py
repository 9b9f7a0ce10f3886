"""A command is killed and run again; `python -m tests.faults` does so with every command, often."""

import shutil

import numpy as np

from tests.faults.harness import Outcome, _left, kill
from tests.faults.works import WORKS, Work, _read_outputs


def test_a_killed_conversion_leaves_nothing_or_all_and_is_done_again(tiny_run, tmp_path):
    (tmp_path / "input").mkdir()
    shutil.copytree(tiny_run, tmp_path / "input/run")
    rng = np.random.default_rng(1)
    outcome = kill(WORKS["convert"], tmp_path / "input", tmp_path / "output", 2, rng)
    assert outcome.faults == []
    assert outcome.trials == 2


def test_half_written_and_other_answers_are_found(tmp_path):
    work, outcome = Work((), _read_outputs), Outcome()
    assert _left(work, tmp_path, {}, outcome) is None
    assert outcome.absent == 1
    (tmp_path / "a.json").write_text('{"b": 1')
    assert "left what cannot be read" in str(_left(work, tmp_path, {}, outcome))
    (tmp_path / "a.json").write_text('{"b": 1}')
    assert "left other values in a.json" in str(_left(work, tmp_path, {}, outcome))
    assert _left(work, tmp_path, {"a.json": b'{"b": 1}'}, outcome) is None
