import json
import os
import shutil
import signal
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax import DistaxError
from distax.runtime.errors import Terminated
from distax.runtime.locks import alone_in
from distax.runtime.sharding import data_mesh
from distax.training import checkpoints, loop, setup
from distax.training.config import ModelConfig, OptimizerConfig
from distax.training.loop import train
from distax.training.setup import make_feed, make_held_out
from tests.training.states import load_state

SCALE = """
import jax.numpy as jnp
from flax import nnx
from distax.models import GridModel, register
from distax.imaging.sensor import Sensor


@register("scale")
class Scale(GridModel):
    def __init__(self, *, factor: int = 1, sensor: Sensor, rngs: nnx.Rngs):
        super().__init__(factor, sensor)
        self.gain = nnx.Param(jnp.ones(()))

    def __call__(self, images):
        return self.gain[...] * images
"""


def lines(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def assert_same(first, second):
    jax.tree.map(np.testing.assert_array_equal, first, second)


class KillAt:
    """A feed that sends this process a signal with a certain batch."""

    def __init__(self, feed, step, signum):
        self.feed, self.step, self.signum = feed, step, signum

    def batches(self, spans):
        for span, batches in zip(spans, self.feed.batches(spans), strict=True):
            if self.step == span.stop:
                os.kill(os.getpid(), self.signum)
            yield batches


@pytest.fixture
def heard_sigint():
    """A process that a shell starts in the background ignores SIGINT, and so do its tests."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


@pytest.mark.usefixtures("heard_sigint")
@pytest.mark.parametrize(
    ("step", "signum", "raised"),
    [
        (1, signal.SIGTERM, Terminated),
        (3, signal.SIGTERM, Terminated),
        (4, signal.SIGTERM, Terminated),
        (4, signal.SIGINT, KeyboardInterrupt),
    ],
)
def test_a_run_stopped_by_a_signal_goes_on_to_the_same_parameters(
    tiny_run, tiny_config, tmp_path, monkeypatch, step, signum, raised
):
    # Step 3 is one with an evaluation of its own, the others are not.
    monkeypatch.setattr(setup, "make_feed", lambda *args: KillAt(make_feed(*args), step, signum))
    with pytest.raises(raised, match=f"stopped at step {step} of 6; saved in"):
        train(tiny_config, tmp_path)
    assert int(load_state(tmp_path, tiny_config).step) == step
    monkeypatch.undo()
    train(tiny_config, tmp_path, resume=True)
    assert_same(load_state(tmp_path, tiny_config), load_state(tiny_run, tiny_config))
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_spans_end_at_multiples_of_every_interval():
    spans = [(span.start, span.stop) for span in loop._spans(range(1, 10), (4, 3, 5))]
    assert spans == [(1, 3), (3, 4), (4, 5), (5, 6), (6, 8), (8, 9), (9, 10)]


def test_the_log_has_every_figure(tiny_run):
    log = lines(tiny_run)
    assert [line["step"] for line in log if "loss" in line] == [2, 3, 4, 6]
    assert [line["step"] for line in log if "cso_map" in line] == [3, 6]
    assert all(np.isfinite(value) for line in log for value in line.values())
    assert any((tiny_run / "tensorboard").iterdir())


def test_the_best_checkpoint_is_the_best(tiny_run):
    scores = {line["step"]: line["cso_map"] for line in lines(tiny_run) if "cso_map" in line}
    (best,) = (tiny_run / "best").iterdir()
    assert scores[int(best.name)] == max(scores.values())
    _, evaluation = checkpoints.read_about(tiny_run, "best")
    assert evaluation.cso_map == max(scores.values())


def test_a_finished_run_resumes_to_its_best_result(tiny_run, tiny_config, tmp_path):
    assert train(tiny_config, tiny_run, resume=True).to_dict() == (
        checkpoints.read_about(tiny_run, "best")[1].to_dict()
    )


@pytest.mark.parametrize("left", [None, "6.orbax-checkpoint-tmp"])
def test_a_run_whose_best_was_never_saved_whole_goes_on(tiny_run, tiny_config, tmp_path, left):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    shutil.rmtree(run / "best")
    (run / "best" / (left or "")).mkdir(parents=True)
    checkpoints.load_model(run)
    result = train(tiny_config, run, resume=True)
    assert checkpoints.read_about(run, "best") == (tiny_config, result)


def test_a_run_is_not_overwritten_nor_resumed_otherwise(tiny_run, tiny_config, tmp_path):
    with pytest.raises(DistaxError, match="already holds a run; resume it or choose another"):
        train(tiny_config, tiny_run)
    with pytest.raises(DistaxError, match=r"another configuration \(differs in steps\)"):
        train(replace(tiny_config, steps=7), tiny_run, resume=True)
    with pytest.raises(DistaxError, match="no checkpoint there"):
        train(tiny_config, tmp_path / "none", resume=True)


class PoisonedFrom:
    """A feed whose images are NaN from a certain step on."""

    def __init__(self, feed, step):
        self.feed, self.step = feed, step

    def batches(self, spans):
        for span, (images, targets) in zip(spans, self.feed.batches(spans), strict=True):
            steps = jnp.arange(span.start + 1, span.stop + 1)[:, None, None, None]
            yield images * jnp.where(steps >= self.step, jnp.nan, 1.0), targets


@pytest.mark.parametrize("step", [4, 5, 6])
def test_a_loss_that_is_not_a_number_stops_and_keeps_the_last_good_checkpoint(
    tiny_config, tmp_path, monkeypatch, step
):
    monkeypatch.setattr(setup, "make_feed", lambda *args: PoisonedFrom(make_feed(*args), step))
    with pytest.raises(DistaxError, match=f"the loss is nan at step {step}; the last good"):
        train(tiny_config, tmp_path)
    state = load_state(tmp_path, tiny_config)
    assert int(state.step) == 3
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(state.params))


def test_held_out_scenes_are_not_trained_on(tiny_config):
    held_out, _ = make_held_out(tiny_config)
    feed = make_feed(tiny_config, data_mesh())
    ((trained, _),) = feed.batches([range(20)])
    trained = np.asarray(trained).reshape(-1, 11, 11)
    assert not set(map(bytes, held_out)) & set(map(bytes, trained))


def test_seeds_give_different_runs(tiny_config):
    first, second = (
        next(make_feed(replace(tiny_config, seed=seed), data_mesh()).batches([range(1)]))
        for seed in (0, 1)
    )
    assert not np.array_equal(first[0], second[0])


def test_optimizer_options_change_the_result(tiny_config, tiny_run, tmp_path):
    slow = replace(tiny_config, optimizer=OptimizerConfig(learning_rate=1e-9))
    train(slow, tmp_path)
    moved = load_state(tiny_run, tiny_config).params
    still = load_state(tmp_path, slow).params
    assert float(jnp.abs(moved["stages"][0]["step_size"][...] - 0.5)) > 1e-4
    assert float(jnp.abs(still["stages"][0]["step_size"][...] - 0.5)) < 1e-6


def test_evaluations_report_what_reaches_the_threshold(tiny_config, tiny_run, tmp_path):
    assert checkpoints.read_about(tiny_run, "best")[1].cso_map > 0
    assert train(replace(tiny_config, threshold=249.0), tmp_path).cso_map == 0


def test_a_model_in_a_file_of_its_own_is_trained_and_found_again(tiny_config, tmp_path):
    (tmp_path / "scale.py").write_text(SCALE)
    model = ModelConfig("scale", module=str(tmp_path / "scale.py"))
    train(replace(tiny_config, model=model), tmp_path / "run")
    loaded, config = checkpoints.load_model(tmp_path / "run")
    assert config.model == replace(model, module=None)
    assert float(loaded.gain[...]) != 1.0


def test_a_second_run_in_a_folder_is_refused(tiny_config, tmp_path):
    refused = pytest.raises(DistaxError, match="another process trains in this folder")
    with alone_in(tmp_path, "trains"), refused:
        train(tiny_config, tmp_path)
    assert not os.listdir(tmp_path)
