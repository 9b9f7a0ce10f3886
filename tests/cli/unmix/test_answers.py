"""Records of made-up answers, so that nothing needs to be unmixed."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from distax import DistaxError
from distax.cli.unmix.answers import (
    Answer,
    FrameAnswer,
    FrameTarget,
    Record,
    Target,
    answer_for,
    read_record,
)
from distax.cli.unmix.tables import to_csv
from distax.imaging.targets import Targets

OPTIONS = {"method": None, "threshold": 50.0, "frame": {"bit_depth": 8, "sigma": 0.5}}
STAR = Target(2.5, 1 / 3, 240.5, 0.9, row_std=0.01, column_std=None, intensity_std=3.5)
IN_FRAME = FrameTarget(
    *(2.5, 3.25, 240.5, 0.9, 0.01, 0.02, 3.5),
    **{"blob": 4, "flags": ("clipped", "unsure"), "misfit": 0.9, "count_probability": 0.8},
    **{"ra": 150.25, "dec": None},
)
RECORD = Record(
    options=OPTIONS,
    assumed=({"method": "grid", "sensor": {"sigma": 0.5}, "prior": None, "threshold": 50.0},),
    files={"a.png": "finished", "b.fits": "finished", "c.png": "failed", "d.png": "unfinished"},
    images=(
        Answer("a.png", 0, (STAR,), trusted=True, count_probability=0.75, misfit=1.5),
        Answer("a.png", 1, (), trusted=None, count_probability=None, misfit=None),
        FrameAnswer("b.fits", 0, (IN_FRAME,), 64, 48, "adu", 250.0, 100.0, 2.0, 5.25, 5),
        FrameAnswer("b.fits", 1, (), 64, 48, "", None, 100.0, 2.0, 5.25, 0),
    ),
)


@pytest.fixture
def path(tmp_path):
    RECORD.write(tmp_path / "a.json")
    return tmp_path / "a.json"


def test_a_record_reads_back(path):
    assert read_record(path, OPTIONS) == RECORD


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (OPTIONS | {"method": "refine"}, r"\(method not given, now refine\)"),
        (
            OPTIONS | {"threshold": 20.0, "frame": {"bit_depth": None, "sigma": 0.5}},
            r"\(threshold 50.0, now 20.0; frame.bit-depth 8, now not given\)",
        ),
    ],
)
def test_other_options_are_named(path, options, message):
    with pytest.raises(
        DistaxError, match=f"{path}: its answers come from other settings {message}"
    ):
        read_record(path, options)


def test_another_version_is_named(path):
    path.write_text(path.read_text().replace('"distax": "', '"distax": "9.'))
    with pytest.raises(DistaxError, match=r"\(distax 9\.[\d.]+, now [\d.]+\); give the same"):
        read_record(path, OPTIONS)


def drop(name):
    def change(text):
        values = json.loads(text)
        del values[name]
        return json.dumps(values)

    return change


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda text: text[:500], "the whole file: Invalid JSON"),
        (lambda text: "[]", "the whole file"),
        (lambda text: "\xff\x00", "the whole file"),
        (drop("files"), "files: Field required"),
        (lambda text: text.replace('"row": 2.5', '"row": "x"'), "images.0"),
        (lambda text: text.replace('"failed"', '"eaten"'), "files.c.png: Input should be"),
        (
            lambda text: text.replace('"a.png": "fin', '"z.png": "fin'),
            "answer for a.png, which is not among",
        ),
    ],
)
def test_what_is_no_record_is_refused_in_one_line(path, change, where):
    path.write_text(change(path.read_text()))
    with pytest.raises(DistaxError, match=f"{path}: not a --json file of unmix.*{where}") as e:
        read_record(path, OPTIONS)
    assert "\n" not in str(e.value)


def edit(change):
    """Returns a change of the text of a record by a change of its values."""

    def changed(text):
        change(values := json.loads(text))
        return json.dumps(values)

    return changed


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda v: v["images"][0].update(image=-1), "has an answer for image -1 of a.png"),
        (lambda v: v["images"][0].update(image=2**31), "has an answer for image 2147483648 of"),
        (lambda v: v["images"].append(v["images"][0]), "has two answers for image 0 of a.png"),
        (lambda v: v["files"].update({"\0": "failed"}), "has the file '.x00', which is no va"),
        (lambda v: v["images"][0]["targets"][0].update(row_std=-1.0), "a row_std below zero, -1.0"),
    ],
)
def test_values_that_no_run_writes_are_refused(path, change, problem):
    path.write_text(edit(change)(path.read_text()))
    with pytest.raises(DistaxError, match=f"{path}: not a --json file of unmix.*{problem}"):
        read_record(path, OPTIONS)


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v["images"][0]["targets"][0].update(row=1e300),
        lambda v: v["images"][1].update(image=7),
        lambda v: v["images"].pop(),
        lambda v: v["files"].update({"c.png": "finished"}),
        lambda v: v.pop("checksum"),
        lambda v: v.update(checksum=True),
    ],
)
def test_a_change_of_any_value_is_found(path, change):
    path.write_text(edit(change)(path.read_text()))
    with pytest.raises(DistaxError, match=f"{path}: is damaged or was edited.*leave --resume out"):
        read_record(path, OPTIONS)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DistaxError, match="pipe: is no regular file; leave --resume out"):
        read_record(tmp_path / "pipe", OPTIONS)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DistaxError, match=r"b.json: cannot be read .*leave --resume out"):
        read_record(tmp_path / "b.json", OPTIONS)


def found(row_std=0.01, row=2.5):
    """Returns one target in one image."""
    one = np.ones((1, 1), np.float32)
    return Targets(
        position=np.array([[[row, 3.25]]], np.float32),
        intensity=240 * one,
        mask=one.astype(bool),
        score=one,
        covariance=np.array([[np.diag([row_std**2, 0.25])]], np.float32),
        intensity_std=np.inf * one,
        misfit=np.inf * one[0],
    )


@pytest.mark.parametrize("unknown", [np.inf, np.nan])
def test_deviations_that_are_not_finite_are_null_and_empty(tmp_path, unknown):
    answer = answer_for((Path("a.png"), 0), found(row_std=unknown), 0)
    (target,) = answer.targets
    assert (target.row_std, target.column_std, target.intensity_std) == (None, 0.5, None)
    assert to_csv([answer]).splitlines()[1].startswith("a.png,0,2.5,3.25,240.0,1.0,,0.5,,")
    record = Record(OPTIONS, (), {"a.png": "finished"}, (answer,))
    record.write(tmp_path / "a.json")
    assert read_record(tmp_path / "a.json", OPTIONS) == record


def test_a_position_that_is_not_finite_is_refused():
    with pytest.raises(DistaxError, match="a target has nan as its row"):
        answer_for((Path("a.png"), 0), found(row=np.nan), 0)


@pytest.mark.parametrize("name", ["background", "noise", "threshold"])
def test_a_number_of_a_frame_that_is_not_finite_is_refused(name):
    with pytest.raises(DistaxError, match=f"a frame has inf as its {name}"):
        replace(RECORD.images[2], **{name: np.inf})
