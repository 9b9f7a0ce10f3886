import json
from pathlib import Path

import numpy as np
import pytest

from distax.imaging.scenes import ScenePrior

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def robustness(experiment):
    return experiment("robustness")


def test_a_small_sweep_end_to_end(robustness, monkeypatch, tmp_path, capsys):
    from robustness_settings import BASE

    single = robustness.Setting(prior=ScenePrior(max_targets=1))
    monkeypatch.setattr(robustness, "SETTINGS", {BASE: single})
    options = {"images": 3, "json_file": tmp_path / "found.json", "figures": tmp_path}
    robustness.main(methods=("refine",), **options)

    (record,) = json.loads((tmp_path / "found.json").read_text())["results"]
    assert (record["images"], record["method"]) == (3, "refine")
    assert record["cso_map_by_score"] == record["count_accuracy"] == record["trusted"] == 1.0
    assert 0 < record["rmse"] < 5 * record["bound"] < 0.02
    table = (tmp_path / "robustness.md").read_text()
    cells = [cell.strip() for cell in table.splitlines()[-1].split("|")[1:-1]]
    assert cells[:6] == [BASE, "refine", "3", "100.0", "100.0", "100.0"]
    assert cells[6:8] == [f"{record['rmse']:.4f}", f"{record['bound']:.4f}"]
    assert (tmp_path / "robustness.png").stat().st_size > 10_000

    def never(*_):
        raise AssertionError("measured again")

    monkeypatch.setattr(robustness, "measure", never)
    robustness.main(methods=("refine",), resume=True, **options)
    assert (tmp_path / "robustness.md").read_text() == table


@pytest.mark.parametrize(("hosts", "borders"), [("edge", 1), ("corner", 2)])
def test_hosts_lie_at_edges_and_corners(robustness, hosts, borders):
    prior = ScenePrior(max_targets=1, border=0)
    truth = robustness.select_scenes(robustness.Setting(prior=prior, hosts=hosts), 8, seed=0)
    host = np.round(truth.position[:, 0])
    np.testing.assert_array_equal(((host == 0) | (host == 10)).sum(axis=1), borders)


def test_every_sweep_names_known_settings(robustness):
    from robustness_settings import SETTINGS, SWEEPS

    assert {name for sweep in SWEEPS for name in sweep.settings.values()} == set(SETTINGS)


def test_the_tables_of_the_page_are_those_of_the_results(robustness):
    from robustness_page import full_table, short_table

    results = robustness.read_results(ROOT / "experiments/results/robustness.json")
    full = (ROOT / "experiments/results/robustness.md").read_text()
    assert full_table(results) == full
    page = (ROOT / "experiments/off_grid.md").read_text()
    assert short_table(results) in page
