"""The page on sequences shows the measured numbers."""

import json

from tests.pages import ROOT


def test_the_tables_of_the_page_are_those_of_the_results(experiment, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "experiments/benchmarks")
    sequences = experiment("benchmarks/sequences")
    results = json.loads((ROOT / "experiments/results/sequences.json").read_text())
    page = (ROOT / "docs/how-to/sequences.md").read_text()
    assert results["figures"]
    for method, figures in results["figures"].items():
        assert sequences.score_table(method, figures) in page
        assert sequences.track_table(figures) in page
        assert f"{figures['sequences']} sequences of {results['prior']['frames']} frames" in page
    assert f"read noise of {results['read_noise']:g} counts" in page
