"""Runs of real processes with two virtual devices each, connected over the loopback interface."""

import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from distax.runtime.sharding import data_mesh
from distax.training import checkpoints
from distax.training.config import OptimizerConfig
from distax.training.loop import train
from tests.training.states import load_state

ENVIRONMENT = os.environ | {"JAX_NUM_CPU_DEVICES": "2", "NPROC": "8"}
OPTIONS = shlex.split(
    "--model.options stages 1 channels 4 hidden 8 --batch-size 32 --log-every 2 --eval-every 3 "
    "--eval-images 40 --steps 6"
)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(run, *options, count=2):
    """Starts the processes of one run."""
    address = f"127.0.0.1:{free_port()}"
    distax = Path(sys.executable).with_name("distax")
    command = [distax, "train", "--run-dir", str(run), *OPTIONS]
    cluster = ["--distributed", "--cluster.coordinator", address, "--cluster.process-count", "2"]
    return [
        subprocess.Popen(
            [*command, *cluster, "--cluster.process-id", str(number), *options],
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]


def ends(processes):
    """Waits for processes; returns status, standard output and standard error of each."""
    try:
        outputs = [process.communicate(timeout=240) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [
        (process.returncode, *output) for process, output in zip(processes, outputs, strict=True)
    ]


def wait_for_line(process, text):
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(process.stderr.read())


@pytest.fixture(scope="module")
def config(tiny_config):
    return replace(tiny_config, optimizer=OptimizerConfig(), batch_size=32)


@pytest.fixture(scope="module")
def alone(config, tmp_path_factory):
    """The state at the end of a run of one process with one device, and its evaluation."""
    run = tmp_path_factory.mktemp("alone")
    evaluation = train(config, run, mesh=data_mesh(jax.devices()[:1]))
    return load_state(run, config), evaluation


def assert_parameters(run, config, alone):
    state = load_state(run, config, data_mesh(jax.devices()[:2]))
    assert int(state.step) == 6
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=0, atol=1e-5),
        state.params,
        alone[0].params,
    )


def test_two_processes_end_with_the_parameters_of_one(config, alone, tmp_path):
    (status, out, err), (other_status, other_out, _) = ends(start(tmp_path))
    assert (status, other_status) == (0, 0), err
    assert "CSO-mAP" in out
    assert "CSO-mAP" not in other_out
    assert_parameters(tmp_path, config, alone)
    _, evaluation = checkpoints.read_about(tmp_path, "best")
    assert evaluation.ap == pytest.approx(alone[1].ap, abs=1e-3)
    assert evaluation.psnr == pytest.approx(alone[1].psnr, rel=1e-4)


def test_sigterm_to_one_process_stops_both_at_one_step_and_the_run_goes_on(config, alone, tmp_path):
    first, second = start(tmp_path, "--log-every", "1")
    wait_for_line(first, "step 1/6")
    second.send_signal(signal.SIGTERM)
    for status, _, err in ends([first, second]):
        assert status == 128 + signal.SIGTERM
        assert "of 6; saved in" in err
    stopped = int(next((tmp_path / "last").iterdir()).name)
    assert 1 <= stopped < 6
    # On eight devices of one process.
    config = replace(config, log_every=1)
    train(config, tmp_path, resume=True, mesh=data_mesh(jax.devices()))
    assert_parameters(tmp_path, config, alone)


def test_a_process_that_dies_ends_the_other(tmp_path):
    endless = ["--steps", "100000", "--eval-every", "100000"]
    first, second = start(tmp_path, *endless, "--cluster.heartbeat", "10")
    wait_for_line(first, "step 2/")
    second.kill()
    killed = time.monotonic()
    (status, _, err), _ = ends([first, second])
    assert time.monotonic() - killed < 40
    # Whichever notices first, distax that a sum over devices fails or JAX that a process is silent.
    assert (status, "another process of the cluster has probably ended" in err) == (1, True) or (
        status,
        "another task died" in err,
    ) == (-signal.SIGABRT, True)


@pytest.mark.parametrize(
    ("number", "message"),
    [
        ("1", "the coordinator 127.0.0.1:1 could not be reached within 2 s; is process 0 running"),
        ("0", "waited 2 s at 127.0.0.1:{port} for 2 processes; start the others with that address"),
    ],
)
def test_nobody_there(number, message, tmp_path):
    port = 1 if number == "1" else free_port()
    options = ["--cluster.coordinator", f"127.0.0.1:{port}", "--cluster.timeout", "2"]
    (process,) = start(tmp_path, *options, "--cluster.process-id", number, count=1)
    status, out, err = ends([process])[0]
    assert (status, out) == (1, "")
    assert err.startswith("distax: " + message.format(port=port))
    assert err.count("\n") == 1


KILLED_WHILE_SAVING = """
import os, signal, sys, threading
from dataclasses import replace
import jax
from distax.runtime.sharding import data_mesh
from distax.training import checkpoints, saving
from distax.training.setup import build

run = sys.argv[1]
config, _ = checkpoints.read_about(run, "last")
mesh = data_mesh(jax.devices()[:1])
state = checkpoints.load_state(run, build(config, mesh).abstract_state)

def die_when_it_has_begun():
    while not any("tmp" in name for name in os.listdir(f"{run}/last")):
        pass
    os.kill(os.getpid(), signal.SIGKILL)

threading.Thread(target=die_when_it_has_begun).start()
while True:
    state = replace(state, step=state.step + 1)
    saving.save(run, "last", state, config, None)
"""


def test_a_process_killed_while_saving_leaves_the_checkpoint_before(
    tiny_run, tiny_config, tmp_path
):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    command = [sys.executable, "-c", KILLED_WHILE_SAVING, str(run)]
    killed = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert any("tmp" in path.name for path in Path(run / "last").iterdir())
    state, whole = (load_state(path, tiny_config) for path in (run, tiny_run))
    jax.tree.map(np.testing.assert_array_equal, state, whole)
    # The half-written checkpoint does not prevent another run.
    assert train(tiny_config, run, resume=True).images == tiny_config.eval_images
