"""Runs in a bucket: whole, continued, and stopped or killed while a checkpoint is saved."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

from distax import DistaxError
from distax.runtime.sharding import data_mesh
from distax.training import checkpoints
from distax.training.loop import train
from tests.training.states import load_state
from tests.training.test_reporting import Recorder, read_events

OPTIONS = shlex.split(
    "--model.options stages 1 channels 4 hidden 8 --optimizer.learning-rate 3e-3 "
    "--optimizer.warmup-steps 2 --optimizer.decay cosine --batch-size 8 --log-every 2 "
    "--eval-every 3 --eval-images 40 --steps 6"
)


@pytest.fixture
def mesh():
    return data_mesh(jax.devices()[:1])


def start(*options):
    """Starts a process that trains."""
    return subprocess.Popen(
        [Path(sys.executable).with_name("distax"), "train", *options],
        env=os.environ | {"JAX_NUM_CPU_DEVICES": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process):
    """Waits for a process; returns its status, standard output and standard error."""
    try:
        output = process.communicate(timeout=400)
    finally:
        process.kill()
    return process.returncode, *output


def at_first_upload(emulator, beginning, act):
    """Calls a function when Orbax first sends an object whose name has a beginning."""
    acted = []

    def watch(method, path):
        if method == "POST" and f"name={beginning}" in path and not acted:
            acted.append(path)
            act()

    emulator.watch = watch
    return acted


def folder_of(place):
    return place.removeprefix("gs://bucket/")


def figures(text, name="loss"):
    """Returns the values of a figure in a run's metrics.jsonl, by step."""
    lines = [json.loads(line) for line in text.splitlines()]
    return [(line["step"], line[name]) for line in lines if name in line]


def assert_same_states(first, second, config, mesh):
    states = (load_state(run, config, mesh) for run in (first, second))
    jax.tree.map(np.testing.assert_array_equal, *states)


def test_a_run_in_a_bucket_is_that_of_a_folder(place, emulator, tiny_run, tiny_config, mesh):
    own = Recorder()
    best = train(tiny_config, place, mesh=mesh, profile=range(4, 5), trackers=[own])
    assert best == checkpoints.read_about(tiny_run, "best")[1]
    assert_same_states(place, tiny_run, tiny_config, mesh)
    folder = folder_of(place)
    logged = emulator.read(f"{folder}/metrics.jsonl").decode()
    assert figures(logged) == figures((tiny_run / "metrics.jsonl").read_text())
    assert figures(logged, "psnr") == figures((tiny_run / "metrics.jsonl").read_text(), "psnr")
    assert json.loads(emulator.read(f"{folder}/config.json"))["batch_size"] == 8
    described, *calls = own.calls
    assert described == ("describe", tiny_config.to_dict())
    taken = [json.loads(line) for line in logged.splitlines()]
    assert [{"step": call[0]} | call[1] for call in calls if isinstance(call, tuple)] == taken
    # Stored after each evaluation, before its checkpoint; on a slow machine also in between.
    evaluations = [at for at, call in enumerate(calls) if "cso_map" in call[1]]
    assert [calls[at + 1] for at in evaluations] == ["flush", "flush"]
    assert calls[-1] == "close"
    assert json.loads(emulator.read(f"{folder}/goodput.json"))["saving"] > 0
    (events,) = emulator.names(f"{folder}/tensorboard/")
    scalars = [
        (event.step, event.summary.value[0].simple_value)
        for event in read_events(emulator.read(events))
        if event.HasField("summary") and event.summary.value[0].tag == "loss"
    ]
    assert scalars == [(step, np.float32(loss)) for step, loss in figures(logged)]
    assert any(name.endswith(".xplane.pb") for name in emulator.names(f"{folder}/profile/"))
    with pytest.raises(DistaxError, match="already holds a run"):
        train(tiny_config, place, mesh=mesh)


def test_a_run_stopped_and_killed_in_the_middle_of_a_save_continues(
    place, emulator, tiny_run, tiny_config, mesh
):
    # The three steps after the save may be over before the signal arrives; then the run is whole.
    for attempt in range(5):
        place = f"{place}{attempt}"
        folder = folder_of(place)
        stopped = start("--run-dir", place, *OPTIONS)
        acted = at_first_upload(
            emulator, f"{folder}/last/3", partial(stopped.send_signal, signal.SIGTERM)
        )
        status, output, errors = end(stopped)
        assert acted, output + errors
        if status != 0:
            break
    assert status == 128 + signal.SIGTERM, errors
    (step,) = map(int, re.findall(rf"stopped at step (\d) of 6; saved in {place}", errors))

    killed = start("--resume", place)
    acted = at_first_upload(emulator, f"{folder}/last/6/model/", killed.kill)
    status, output, errors = end(killed)
    assert acted, output + errors
    assert status == -signal.SIGKILL, output + errors
    unfinished = emulator.names(f"{folder}/last/6")
    assert unfinished
    assert f"{folder}/last/6/commit_success.txt" not in unfinished
    assert int(load_state(place, tiny_config, mesh).step) == step
    assert f"{folder}/last/{step}/commit_success.txt" in emulator.names(f"{folder}/last/{step}/")

    # A resumed run may have other trackers.
    train(replace(tiny_config, trackers=("jsonl",)), place, resume=True, mesh=mesh)
    assert_same_states(place, tiny_run, tiny_config, mesh)
    assert {name.split("/")[2] for name in emulator.names(f"{folder}/last/")} == {"6"}
    logged = emulator.read(f"{folder}/metrics.jsonl").decode()
    alone = figures((tiny_run / "metrics.jsonl").read_text())
    # The mean loss that was due after step 4 was logged there in both runs.
    assert figures(logged) == alone


def test_only_half_a_checkpoint_is_said_to_be_half(place, emulator):
    emulator.write(f"{folder_of(place)}/last/3/about/metadata", b"{}")
    with pytest.raises(DistaxError, match="the only checkpoint is half-written"):
        checkpoints.load_model(place)
    with pytest.raises(DistaxError, match="no checkpoint there; give the folder of a run"):
        checkpoints.load_model(f"{place}/nothing")


def test_a_bucket_that_is_not_there_is_named_before_any_work(emulator, tiny_config):
    with pytest.raises(DistaxError, match=r"^gs://another/run: there is no bucket another"):
        train(tiny_config, "gs://another/run")
