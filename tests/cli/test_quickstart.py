"""The quickstart shows the shipped network first, then a model beside it in the same table."""

from pathlib import Path

import pytest

from distax.cli.quickstart import Quickstart


def test_a_checkpoint_that_is_shown_leaves_the_trained_run_alone():
    assert Quickstart().folder == Path("runs/quickstart")
    assert Quickstart(checkpoint="dista").folder == Path("runs/quickstart_dista")
    assert Quickstart(run_dir=Path("here"), checkpoint="dista").folder == Path("here")


def test_the_shipped_network_comes_first_and_both_share_the_last_table(tmp_path, capsys):
    Quickstart(run_dir=tmp_path, checkpoint="cfgn", images=40).run()
    first, last = capsys.readouterr().out.split("figure.png: its answers")
    assert "distax, off the grid" in first
    assert "cfgn" not in first
    rows = [line for line in last.splitlines() if line.startswith("│")]
    perfect = ["the perfect answer on that grid", "… with blurred labels"]  # as cfgn learned
    names = ["distax, off the grid", "cfgn", *perfect, "DISTA-Net, publ"]
    places = [next(i for i, row in enumerate(rows) if name in row) for name in names]
    assert places == sorted(places)
    scores = {name: rows[i].split("│")[2:] for name, i in zip(names, places, strict=True)}
    assert float(scores["distax, off the grid"][0]) > 80 > float(scores["cfgn"][0])
    assert float(scores["distax, off the grid"][6]) > float(scores["cfgn"][6])
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    assert (tmp_path / "comparison.png").stat().st_size > 10_000


def test_the_shipped_network_is_left_out_for_another_sensor(tmp_path, capsys, monkeypatch):
    from dataclasses import replace

    from flax import nnx

    from distax import Sensor, Unmixer
    from distax.models import create

    sensor = replace(Sensor(), sigma=0.6)
    model = create("fista", factor=3, sensor=sensor, rngs=nnx.Rngs(0))
    load = Unmixer.load.__func__

    def loaded(cls, name, *arguments):
        if name == "own":
            return Unmixer(method="grid", model=model)
        return load(cls, name, *arguments)

    monkeypatch.setattr(Unmixer, "load", classmethod(loaded))
    Quickstart(run_dir=tmp_path, checkpoint="own", images=20).run()
    out = capsys.readouterr().out
    assert "distax, off the grid" not in out
    assert "own, for comparison" in out
    assert not (tmp_path / "figure.png").exists()


@pytest.mark.parametrize("checkpoint", ["density"])
def test_the_shipped_network_itself_is_not_compared_with_a_grid(tmp_path, capsys, checkpoint):
    Quickstart(run_dir=tmp_path, checkpoint=checkpoint, images=20).run()
    assert "the perfect answer" not in capsys.readouterr().out
