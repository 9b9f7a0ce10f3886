import json
import re
import shlex
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest
from flax import nnx

from distax import DistaxError, Sensor, weights
from distax.cli import console
from distax.cli.main import main
from distax.cli.train import Train
from distax.imaging.psf import MeasuredPsf
from distax.io.sensor_file import write_sensor
from distax.models import create, registry
from distax.runtime.errors import Terminated
from distax.training import checkpoints, loop
from distax.training.config import DataConfig, ModelConfig, TrainConfig
from tests.training.states import load_state

TINY = shlex.split(
    "--model.options stages 1 channels 4 hidden 8 --batch-size 8 --log-every 2 --eval-every 3 "
    "--eval-images 40 --optimizer.learning-rate 3e-3 --optimizer.warmup-steps 2 "
    "--optimizer.decay cosine --steps 6"
)


def test_options_give_the_run_they_describe(tiny_run, tiny_config, tmp_path, capsys):
    main(["train", "--run-dir", str(tmp_path / "run"), *TINY])
    states = [load_state(run, tiny_config) for run in (tmp_path / "run", tiny_run)]
    jax.tree.map(np.testing.assert_array_equal, *states)
    assert "CSO-mAP" in capsys.readouterr().out


def test_a_file_sets_what_options_then_change(tmp_path, monkeypatch):
    (tmp_path / "a.toml").write_text("steps = 7\nseed = 3\nsensor = { sigma = 0.6 }\n")
    ran = []
    monkeypatch.setattr(Train, "run", lambda self: ran.append(self))
    main(["train", "--config", str(tmp_path / "a.toml"), "--steps", "9"])
    assert ran[0].settings == TrainConfig(steps=9, seed=3, sensor=Sensor(sigma=0.6))


@pytest.mark.parametrize("said", [["--model", "lista"], ["--model=lista"], ["--model.name=lista"]])
def test_a_model_is_named_in_short_and_in_full(said, monkeypatch):
    ran = []
    monkeypatch.setattr(Train, "run", lambda self: ran.append(self))
    main(["train", *said])
    assert ran[0].settings == TrainConfig(model=ModelConfig("lista"))


def test_a_measured_psf_comes_from_a_file_and_is_no_subcommand(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    shown = capsys.readouterr().out
    assert "measured-psf" not in shown
    assert "psf-grid" not in shown
    sensor = Sensor(measured_psf=MeasuredPsf(2, ((0.1, 1.0, 0.1),), ((0.1, 1.0, 0.0),)))
    write_sensor(tmp_path / "a.toml", sensor)
    ran = []
    monkeypatch.setattr(Train, "run", lambda self: ran.append(self))
    main(["train", "--config", str(tmp_path / "a.toml"), "--steps", "9"])
    assert ran[0].settings == TrainConfig(sensor=sensor, steps=9)


@pytest.fixture
def trained(monkeypatch):
    """Replaces the training loop, and lists the configurations it is called with."""
    trained = []
    monkeypatch.setattr(loop, "train", lambda settings, run, **_: trained.append(settings))
    monkeypatch.setattr(console, "print_evaluation", lambda best: None)
    return trained


@pytest.mark.parametrize("said", ["--model.module=upsampler.py", "--config=upsampler.toml"])
def test_the_file_of_a_model_is_found_from_anywhere(said, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "upsampler.toml").write_text('[model]\nmodule = "upsampler.py"\n')
    main(["train", said])
    assert trained[0].model == ModelConfig(module=str(tmp_path / "upsampler.py"))


def test_the_file_that_a_run_names_is_not_run(trained, monkeypatch):
    saved = TrainConfig(model=ModelConfig(module="upsampler.py"))
    monkeypatch.setattr(checkpoints, "read_about", lambda run, which: (saved, None))
    main(["train", "--resume", "runs/upsampler"])
    assert trained == [TrainConfig()]


def test_a_run_of_ones_own_model_is_resumed_with_its_file(trained, tmp_path, monkeypatch):
    saved = TrainConfig(model=ModelConfig("upsampler", module="upsampler.py"))
    monkeypatch.setattr(checkpoints, "read_about", lambda run, which: (saved, None))
    with pytest.raises(SystemExit, match=r"give --model\.module upsampler\.py, and that file is"):
        main(["train", "--resume", "runs/upsampler"])
    file = tmp_path / "upsampler.py"
    main(["train", "--resume", "runs/upsampler", "--model.module", str(file)])
    assert trained == [TrainConfig(model=ModelConfig("upsampler", module=str(file)))]


MINE = """
from flax import nnx
import jax.numpy as jnp
from distax.models import GridModel, register

@register("mine")
class Mine(GridModel):
    def __init__(self, *, factor=3, sensor, rngs):
        super().__init__(factor, sensor)
        self.gain = nnx.Param(jnp.ones(()))

    def __call__(self, images):
        return self.gain[...] * images
"""


def test_runs_to_start_from_may_be_of_ones_own_model(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(registry, "_MODELS", dict(registry._MODELS))
    monkeypatch.setattr(
        weights, "find", lambda name: (create("mine", sensor=Sensor(), rngs=nnx.Rngs(0)), None)
    )
    file = tmp_path / "mine.py"
    file.write_text(MINE)
    options = ["--model", "mine", "--model.module", str(file), "--start", "own"]
    main(["train", "--run-dir", str(tmp_path / "run"), *options])
    assert len(trained) == 1
    assert "start: of 1 arrays, 1 from own" in capsys.readouterr().out


def test_a_resumed_run_has_its_own_configuration(tiny_run, tiny_config):
    assert Train.defaults(["train", "--resume", str(tiny_run)]).settings == tiny_config
    assert Train.defaults(["train", f"--resume={tiny_run}"]).settings == tiny_config


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", "none.toml"], "none.toml: cannot be read"),
        (["--batch-size", "0"], "batch_size must be greater than 0"),
        (["--model.factor", "4", "--eval-images", "1"], "factor must be an odd number"),
        (["--model.name", "distta", "--steps", "1"], "did you mean 'dista'"),
        (["--model.options", "chanels", "4"], "did you mean 'channels'"),
        # The first option is a truth value, and no word.
        (["--model.options", "rematerialize", "True", "chanels", "4"], "did you mean 'channels'"),
        (["--data.dataset", "simulated"], "run `distax build-dataset simulated --data-dir data`"),
    ],
)
def test_what_is_wrong_is_named(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit_:
        main(["train", *arguments])
    assert str(exit_.value).startswith("distax: ")
    assert message in str(exit_.value)
    assert "\n" not in str(exit_.value)


def test_termination_has_the_status_schedulers_expect(monkeypatch, capsys):
    def terminated(self):
        raise Terminated("stopped at step 1 of 2; saved in here")

    monkeypatch.setattr(Train, "run", terminated)
    with pytest.raises(SystemExit) as exit_:
        main(["train"])
    assert exit_.value.code == 128 + signal.SIGTERM
    assert "saved in here" in capsys.readouterr().err


def test_a_stopped_run_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    def stop(*_, **__):
        raise Terminated("stopped at step 1 of 6; saved in run")

    monkeypatch.setattr(loop, "train", stop)
    monkeypatch.chdir(tmp_path)
    for command, advice in (
        (["train", "--run-dir", "run", *TINY], "distax train --resume run continues"),
        (["quickstart", "--run-dir", "run", "--images", "2"], "the same command continues"),
    ):
        with pytest.raises(SystemExit):
            main(command)
        assert f"stopped at step 1 of 6; saved in run; {advice}\n" in capsys.readouterr().err


def test_a_dataset_on_disk_is_trained_on(tmp_path, capsys):
    name, data = "simulated_seed0_16_8_8", str(tmp_path / "data")
    main(["build-dataset", name, "--data-dir", data])
    assert "train, 16 images" in capsys.readouterr().out
    results = []
    for feed in ("memory", "stream"):
        run = str(tmp_path / feed)
        options = ["--data.dataset", name, "--data.data-dir", data, "--data.feed", feed]
        main(["train", "--run-dir", run, *TINY, *options])
        saved = ["--data-dir", data, "--json", str(tmp_path / "a.json")]
        main(["evaluate", "--checkpoint", run, "--dataset", name, *saved])
        results.append(json.loads((tmp_path / "a.json").read_text()) | {"checkpoint": None})
    assert results[0] == results[1]
    assert results[0]["images"] == 8
    assert results[0]["data"] == f"{name}/test"


def test_a_setting_that_no_dataset_has_is_an_error():
    with pytest.raises(DistaxError, match="was taken by CSIST"):
        TrainConfig(data=DataConfig(dataset="released"), sensor=Sensor(sigma=1.0))


def test_a_run_starts_from_the_weights_of_others(tiny_run, tmp_path, capsys):
    options = [*TINY, "--optimizer.learning-rate", "1e-12", "--steps", "1"]
    main(["train", "--run-dir", str(tmp_path / "run"), "--start", str(tiny_run), *options])
    started, config = checkpoints.load_model(tmp_path / "run")
    trained, _ = checkpoints.load_model(tiny_run)
    jax.tree.map(
        lambda ours, theirs: np.testing.assert_allclose(ours, theirs, atol=1e-9),
        nnx.state(started, nnx.Param),
        nnx.state(trained, nnx.Param),
    )
    count = len(jax.tree.leaves(nnx.state(trained, nnx.Param)))
    assert f"start: of {count} arrays, {count} from {tiny_run}" in capsys.readouterr().out
    with pytest.raises(DistaxError, match="--start has no effect on a run that is resumed"):
        Train(resume=str(tmp_path / "run"), start=(str(tiny_run),), settings=config).run()


FULL_DISK = """
import gc, resource, sys
from contextlib import suppress
from distax import DistaxError
from distax.cli.main import main
from distax.cli.train import Train
from distax.training import saving
from distax.training.optimizer import make_optimizer
from distax.training.building import create_model
from distax.training.state import init_state

def run(self):
    optimizer = make_optimizer(self.settings.optimizer, self.settings.steps)
    state = init_state(create_model(self.settings), optimizer)
    save = lambda: saving.save(self.run_dir, "last", state, self.settings, None)
    # Writes of files beyond a size fail, as they would on a full disk. Which write is the first to
    # fail depends on the size, and so does what Orbax leaves behind.
    for size in (100, 1000, 2000, 3000, 5000, 20_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        with suppress(DistaxError):
            save()
        gc.collect()
    save()

Train.run = run
main(["train", "--run-dir", *sys.argv[1:]])
"""


def test_a_full_disk_is_told_in_one_line(tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path), *TINY], capture_output=True, text=True
    )
    line = rf"distax: {tmp_path}/last: the checkpoint of step 0 could not be saved \(.*resume\n"
    assert re.fullmatch(line, result.stderr)
    assert result.returncode == 1
