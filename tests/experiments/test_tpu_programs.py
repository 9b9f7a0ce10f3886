"""The table of programs for TPUs, without compiling any."""

import json

from tests.pages import ROOT


def test_the_table_of_the_models_is_that_of_the_results(experiment):
    programs = experiment("benchmarks/tpu_programs")
    rows = json.loads((ROOT / "experiments/results/tpu_programs.json").read_text())["rows"]
    table = programs._zoo([row for row in rows if row["topology"] == "v5e:2x2"])
    assert table in (ROOT / "docs/how-to/compile.md").read_text(encoding="utf-8")
    assert not [row["name"] for row in rows if "refused" in row]
