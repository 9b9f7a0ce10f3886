import json
from dataclasses import replace

import pytest

from distax import DistaxError
from distax.models.layers.basic import parameter_count
from distax.runtime.sharding import data_mesh
from distax.training.building import create_model
from distax.training.loop import train
from distax.training.profiling import parse_steps


@pytest.mark.parametrize(("text", "steps"), [("10:20", range(10, 20)), ("0:1", range(1))])
def test_steps_are_read(text, steps):
    assert parse_steps(text) == steps


@pytest.mark.parametrize("text", ["10", "20:10", "5:5", "a:b", "-1:3", ""])
def test_no_range_of_steps_is_refused(text):
    with pytest.raises(DistaxError, match="--profile takes two steps such as 10:20, got"):
        parse_steps(text)


def test_a_run_leaves_a_trace_of_the_steps_and_what_its_time_went_to(
    tiny_config, tmp_path, monkeypatch
):
    monkeypatch.setattr("distax.training.steps.find_peak", lambda kind: 1e15)
    config = replace(tiny_config, steps=4, eval_every=4, log_every=2)
    train(config, tmp_path, profile=range(1, 3))
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))
    seconds = json.loads((tmp_path / "goodput.json").read_text())
    assert all(seconds[kind] > 0 for kind in ("compiling", "steps", "evaluating", "saving"))
    assert seconds["restoring"] == 0
    line = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])
    assert line["step_seconds"] > 0
    assert line["step_seconds_spread"] >= 0
    per_device = line["images_per_second"] / line["images_per_second_per_device"]
    assert per_device == pytest.approx(data_mesh().size)
    flops = 1e15 * line["model_flop_utilisation"] * line["step_seconds"]
    # Forward and backward products of the parameters, which all have several uses in an image.
    per_image = flops / config.batch_size * data_mesh().size
    parameters = parameter_count(create_model(config))
    assert 6 * parameters < per_image < 1e5 * parameters
