"""The programs of the smallest DISTA-Net for four chips that are not there."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest
from flax import nnx

from distax import DistaxError
from distax.cli.main import main
from distax.compilation import (
    compile_training,
    compile_unmixing,
    load_programs,
    open_topology,
    predict,
)
from distax.compilation.methods import trace_model
from distax.compilation.prediction import Report
from distax.runtime.sharding import data_mesh
from distax.training.building import abstract_model
from distax.training.config import ModelConfig, TrainConfig

CONFIG = TrainConfig(
    model=ModelConfig(options={"stages": 2, "channels": 8, "hidden": 16, "window": 5}),
    batch_size=4,
    steps_per_dispatch=1,
)


@pytest.fixture(scope="module")
def report():
    topology = open_topology("v5e:2x2")
    return predict(compile_training(CONFIG, topology), topology)


def test_a_step_sums_gradients_once_and_sends_nothing_else(report):
    scenes, steps = report.programs
    assert scenes.cost.collectives == {}
    assert set(steps.cost.collectives) == {"all-reduce"}
    assert steps.cost.collectives["all-reduce"].count == 1


def test_an_all_reduce_has_every_gradient_and_the_loss(report):
    parameters = jax.tree.leaves(nnx.state(abstract_model(CONFIG), nnx.Param))
    size = 4 * (sum(np.prod(leaf.shape) for leaf in parameters) + 1)
    sent = report.programs[1].cost.collectives["all-reduce"].bytes
    # Arrays fill whole tiles of 8 × 128.
    assert size <= sent < 20 * size


def test_the_program_is_small_and_takes_the_memory_of_its_arrays(report):
    plain, steps = report.to_dict(), report.programs[1]
    parameters = jax.tree.leaves(nnx.state(abstract_model(CONFIG)))
    size = 4 * sum(np.prod(leaf.shape) for leaf in parameters)
    assert plain["program_bytes"] < 20e6
    # Parameters, two moments of Adam and constants, in tiles.
    assert size < steps.argument_bytes < 12 * size
    assert plain["fits"]
    assert plain["chips"] == 4
    assert plain["images_per_call"] == 16


def test_predictions_follow_from_the_roofs(report):
    plain, chip = report.to_dict(), report.topology.chip
    steps = plain["programs"][1]
    assert steps["seconds"]["compute"] == pytest.approx(steps["flops"] / chip.peak_flops)
    assert steps["seconds"]["memory"] == pytest.approx(
        steps["memory_bytes_accessed"] / chip.memory_bandwidth
    )
    per_chip = plain["predicted_images_per_second"]["per_chip"]
    assert plain["predicted_images_per_second"]["all"] == pytest.approx(4 * per_chip)
    assert 0 < plain["efficiency"] < 1


def test_a_program_that_does_not_fit_says_by_how_much(report):
    chip = replace(report.topology.chip, memory_bytes=1e5)
    small = Report(replace(report.topology, chip=chip), report.programs)
    assert small.missing_bytes == max(p.memory for p in report.programs) - 100_000
    assert not small.to_dict()["fits"]


def test_the_command_writes_its_figures(tmp_path, capsys):
    config, figures = tmp_path / "small.toml", tmp_path / "figures.json"
    config.write_text(
        'batch_size = 4\nsteps_per_dispatch = 1\n[model]\nname = "espcn"\n'
        "options = { window = 5 }\n"
    )
    arguments = ["--config", str(config), "--what", "unmix", "--method", "grid"]
    programs = tmp_path / "programs"
    outputs = ["--json", str(figures), "--save", str(programs)]
    main(["compile", "--topology", "v5e:2x2", *arguments, *outputs])
    with pytest.raises(
        DistaxError, match=r"are 4 devices of kind TPU v5 lite, but here .* of kind cpu"
    ):
        load_programs(programs, data_mesh())
    written = json.loads(figures.read_text())
    assert written["topology"] == "v5e:2x2"
    assert written["collectives"] == {}
    assert written["images_per_call"] == 4 * 1024
    assert "images/s a chip" in capsys.readouterr().out


def test_what_train_refuses_is_refused():
    config = replace(CONFIG, model=ModelConfig("nnls"))
    with pytest.raises(DistaxError, match="nothing to train"):
        compile_training(config, open_topology("v5e:2x2"))


def test_more_images_than_a_chip_holds_are_refused_before_compilation():
    method = trace_model(abstract_model(CONFIG))
    with pytest.raises(DistaxError, match=r"does not fit: .* take 484\.\d GB; give fewer images"):
        compile_unmixing(method, (11, 11), open_topology("v5e:2x2"), 10**9)


def test_a_file_is_no_folder_for_programs(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match="file: cannot be made a folder"):
        main(["compile", "--topology", "v5e:2x2", "--dump-hlo", str(tmp_path / "file")])


def test_a_command_without_room_fails_by_name(monkeypatch, report):
    monkeypatch.setattr(Report, "missing_bytes", 123_000_000)
    monkeypatch.setattr("distax.compilation.predict", lambda *_: report)
    monkeypatch.setattr("distax.compilation.compile_training", lambda *_: [])
    with pytest.raises(SystemExit, match=r"does not fit: .* 0\.12 GB more are needed"):
        main(["compile", "--topology", "v5e:2x2"])
