from dataclasses import replace

import pytest

from distax.cli.console import (
    print_by_count,
    print_evaluation,
    print_frame_evaluation,
    print_reliability,
)
from distax.evaluation import Evaluation
from distax.frames.scoring import FrameEvaluation

AP = {"0.05": 0.1, "0.10": 0.2, "0.15": 0.3, "0.20": 0.4, "0.25": 0.5}
GROUP = {
    "images": 40,
    "count_accuracy": 0.975,
    "cso_map_by_score": 0.4567,
    "ap_by_score": {radius: ap + 0.05 for radius, ap in AP.items()},
    "rmse": 0.0123,
    "bound": 0.0101,
    "within": AP,
    "coverage": {"0.50": 0.48, "0.90": 0.91, "0.95": 0.955},
}
EMPTY = GROUP | {"rmse": None, "bound": None, "within": None, "coverage": None}


@pytest.fixture
def result():
    return Evaluation(
        **GROUP,
        cso_map=0.3,
        ap=AP,
        by_count={"0": EMPTY, "2": GROUP},
        reliability={
            radius: {"detections": [1, 3], "reported": [0.2, 0.8], "realised": [0.0, 1.0]}
            for radius in AP
        },
    )


def cells(text):
    """Returns the cells of each line of a printed table."""
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines()]


def test_both_rankings_and_other_results(result, capsys):
    print_evaluation(result, {"another": (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)}, "posterior")
    out = capsys.readouterr().out
    rows = cells(out)
    assert ["posterior, 40 images", "30.00", "10.00", "20.00", "30.00", "40.00", "50.00"] in rows
    by_score = "… ranked by its own score instead of intensity"
    assert [by_score, "45.67", "15.00", "25.00", "35.00", "45.00", "55.00"] in rows
    assert ["another", "1.00", "2.00", "3.00", "4.00", "5.00", "6.00"] in rows
    assert "\ncount accuracy 97.5%, position RMSE 0.0123 px" in out


def test_one_ranking_where_they_coincide_and_the_quality_of_grids(result, capsys):
    same = replace(result, cso_map_by_score=0.3, ap_by_score=AP, psnr=38.123, ssim=0.98765)
    print_evaluation(same)
    out = capsys.readouterr().out
    assert "own score" not in out
    assert "PSNR 38.12 dB, SSIM 0.9877, count accuracy" in out


def test_a_row_for_each_number_of_targets(result, capsys):
    print_by_count(result)
    rows = cells(capsys.readouterr().out)
    shares = ["48.0", "91.0", "95.5"]
    figures = ["40", "97.5", "45.7", "10.0", "0.0123", "0.0101", *shares]
    assert ["2", *figures] in rows
    assert ["all", *figures] in rows
    assert ["0", "40", "97.5", "45.7", *"––––––"] in rows


def test_stated_probabilities_beside_those_that_came_true(result, capsys):
    print_reliability(result)
    rows = cells(capsys.readouterr().out)
    assert ["stated", *["65.0"] * 5] in rows
    assert ["came true", *["75.0"] * 5] in rows


def test_nothing_is_said_of_what_is_not_stated(result, capsys):
    silent = replace(result, coverage=None, reliability=None)
    print_reliability(silent)
    assert capsys.readouterr().out == ""
    print_by_count(replace(silent, by_count={"2": GROUP | {"coverage": None}}))
    assert "region" not in capsys.readouterr().out


def test_frames_have_their_rates_and_intervals(capsys):
    scores = {"cso_map": 0.3, "ap": AP, "blob_recall": 0.9, "recall": AP, "false_blobs": 0.25}
    scores |= {"right_count": None, "pd": 0.8, "fa": 3.25e-6, "gospa": 1.5}
    scores["rates"] = {radius: {"precision": 0.5, "recall": 0.25} for radius in AP}
    intervals = {"pd": [0.79, 0.82], "ap": {radius: [ap, ap + 0.02] for radius, ap in AP.items()}}
    result = FrameEvaluation(frames=2, targets=9, intervals=intervals, **scores)
    print_frame_evaluation(result, "mine")
    out = capsys.readouterr().out
    rows = cells(out)
    average = [f"{percent}.0±1.0" for percent in (10, 20, 30, 40, 50)]
    assert ["mine, 2 frames: average precision (mean: CSO-mAP)", "30.0", *average] in rows
    assert ["precision", *["50.0"] * 5] in rows
    assert "90.0% of clusters and stars found, right number of targets in –% of them" in out
    assert "within 3 px: Pd 80.0 ± 1.5%, Fa 3.25 per million px; GOSPA 1.5000 px" in out


def test_names_are_printed_as_they_are_and_without_control_characters(result, capsys):
    print_evaluation(result, {"[bold]b": [1.0] * 6}, name="a[/red]b\n\x1b[31m")
    table = capsys.readouterr().out
    assert r"a[/red]b\n\x1b[31m, 40 images" in table
    assert "[bold]b" in table
