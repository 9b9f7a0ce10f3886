import pytest

from distax.evaluation import Evaluation
from distax.evaluation.tables import by_count_rows, latex_row, rate_rows, score_rows

AP = {"0.05": 0.1, "0.25": 0.5}
RATE = {
    "precision": 0.9,
    "recall": 0.8,
    "f1": 0.847,
    "jaccard": 0.735,
    "rmse": 0.0123,
    "efficiency": 0.73,
    "false_rate": 0.25,
    "intensity_bias": -0.01,
    "intensity_error": 0.05,
}
NONE = RATE | {"precision": None, "f1": None}
GROUP = {
    "count_accuracy": 0.975,
    "cso_map_by_score": 0.3,
    "ap_by_score": AP,
    "rmse": None,
    "bound": 0.01,
    "within": AP,
    "coverage": None,
    "rates": {"0.05": NONE, "0.25": RATE},
    "gospa": 0.125,
}


def around(tree, half=0.01):
    """Returns the intervals of all scores, each as wide."""
    if isinstance(tree, dict):
        return {name: around(leaf, half) for name, leaf in tree.items()}
    return None if tree is None else [tree - half, tree + half]


@pytest.fixture
def result():
    of_group = around(GROUP)
    return Evaluation(
        **GROUP,
        images=40,
        cso_map=0.3,
        ap=AP,
        reliability=None,
        by_count={"2": GROUP | {"images": 40}},
        intervals=of_group
        | {"cso_map": [0.28, 0.32], "ap": around(AP), "by_count": {"2": around(GROUP, 0.02)}},
    )


def test_half_the_width_of_each_interval_is_below_its_score(result):
    rows = score_rows(result, "mine")
    assert rows == {
        "mine": ["30.00", "10.00", "50.00"],
        "± (95% interval)": ["2.00", "1.00", "1.00"],
    }


def test_each_number_of_targets_has_its_own_intervals(result):
    _, two, everything = by_count_rows(result)
    assert two == ["2", "40", "97.5\n±2.0", "30.0\n±2.0", "10.0\n±2.0", "–", "0.0100\n±0.0200"]
    assert everything[:3] == ["all", "40", "97.5\n±1.0"]


def test_rates_by_radius_in_readable_units(result):
    rows = {name: cells for name, *cells in rate_rows(result)}
    assert rows["in %, within px"] == ["0.05", "0.25"]
    assert rows["precision"] == ["–", "90.0±1.0"]
    assert rows["RMSE / 0.001 px"] == ["12.3±10.0", "12.3±10.0"]
    assert rows["false per image"] == ["0.25±0.01", "0.25±0.01"]
    assert rows["intensity bias"] == ["-1.0±1.0", "-1.0±1.0"]


def test_a_name_cannot_break_a_latex_row(result):
    _, row = latex_row(result, "x\n\x1b[31my").splitlines()
    assert row.startswith(r"x\textbackslash{}n\textbackslash{}x1b[31my & ")


def test_a_latex_row_has_a_comment_with_its_columns(result):
    comment, row = latex_row(result, "my_net 50%").splitlines()
    assert comment.startswith("% method & images & CSO-mAP & CSO-mAP by own score & AP-05 &")
    assert "of pairs within 0.25 px" in comment
    cells = row.removesuffix(r" \\").split(" & ")
    headings = comment.removeprefix("% ").split(" (")[0].split(" & ")
    assert len(cells) == len(headings)
    assert cells[:3] == [r"my\_net 50\%", "$40$", r"$30.00 \pm 2.00$"]
    assert cells[headings.index("RMSE / 0.001 px")] == r"$12.3 \pm 10.0$"


def test_an_evaluation_without_intervals_or_rates_still_has_its_scores(result):
    old = Evaluation(**(result.to_dict() | {"intervals": None, "rates": None}))
    assert score_rows(old, "mine") == {"mine": ["30.00", "10.00", "50.00"]}
    assert by_count_rows(old)[1][2] == "97.5"
    assert rate_rows(old) == []
