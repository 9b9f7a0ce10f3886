"""Runs in buckets, up to the call that would read the bucket."""

import pytest

from distax import DistaxError
from distax.cli.main import main
from distax.training import checkpoints
from distax.weights import storage

RUN = "gs://bucket/run"


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", "--checkpoint", RUN],
        ["unmix", "a.png", "--checkpoint", RUN],
        ["track", "a.npy", "--checkpoint", RUN],
        ["export", "a.distax", "--checkpoint", RUN],
        ["quickstart", "--checkpoint", RUN],
        ["convert", RUN, "a.safetensors"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_run_in_a_bucket_is_asked_for_by_its_whole_name(arguments, monkeypatch):
    def asked(run):
        raise DistaxError(f"asked for {run}")

    monkeypatch.setattr(checkpoints, "load_model", asked)
    with pytest.raises(SystemExit, match=f"distax: asked for {RUN}$"):
        main(arguments)


def test_a_run_is_converted_into_a_bucket(tiny_run, monkeypatch):
    def asked(run):
        raise DistaxError(f"asked for {run}")

    monkeypatch.setattr(checkpoints, "holds_run", asked)
    with pytest.raises(SystemExit, match=f"distax: asked for {RUN}$"):
        main(["convert", str(tiny_run), RUN])


def test_weights_are_exported_from_a_bucket(tmp_path, monkeypatch):
    asked = []

    def load(run):
        asked.append(str(run))
        raise DistaxError("not there")

    monkeypatch.setattr(storage, "load_model", load)
    with pytest.raises(DistaxError, match="not there"):
        storage.export(RUN, tmp_path / "a.safetensors")
    assert asked == [RUN]
