import subprocess
import sys
from dataclasses import replace

import pytest

from distax import DistaxError
from distax.benchmarking import check_torch, torch_process
from distax.benchmarking.figures import has_torch
from distax.benchmarking.networks import Network
from distax.benchmarking.torch_process import TorchProcess

SMALL = Network(batch=2, stages=2, channels=4)
needs_torch = pytest.mark.skipif(not has_torch(), reason="PyTorch is not installed")


@pytest.fixture(scope="module")
def torch():
    with TorchProcess() as process:
        yield process


@needs_torch
def test_pytorch_computes_the_same_grids_objective_and_gradients(torch):
    assert check_torch(torch, SMALL)["PyTorch"] < 1e-5


@needs_torch
def test_pytorch_in_bfloat16_is_another_precision(torch):
    assert (
        torch.deviation(SMALL) < 1e-5 < torch.deviation(replace(SMALL, precision="bfloat16")) < 0.3
    )


@needs_torch
@pytest.mark.parametrize("what", ["inference", "training"])
def test_pytorch_is_timed(torch, what):
    candidate = torch.prepare(what, SMALL, compiled=False)
    assert 0 < candidate.call() < 600
    assert candidate.program_bytes is None


@needs_torch
def test_an_error_of_pytorch_is_one_line(torch):
    with pytest.raises(DistaxError, match=r"^PyTorch failed: DistaxError: stages must be .*$"):
        torch.deviation(replace(SMALL, stages=-1))


def start(monkeypatch, code):
    real = subprocess.Popen
    arguments = [sys.executable, "-c", code]
    monkeypatch.setattr(
        torch_process.subprocess, "Popen", lambda _, **options: real(arguments, **options)
    )
    return TorchProcess()


def test_times_and_memory_are_those_of_the_process(monkeypatch):
    code = """
import json, sys
for line in sys.stdin:
    request = json.loads(line)
    assert request["network"]["batch"] == 2 and request["compiled"]
    print(json.dumps({"seconds": 0.25, "peak_memory": 1000}), flush=True)
"""
    with start(monkeypatch, code) as process:
        candidate = process.prepare("training", SMALL, compiled=True)
        assert candidate.peak_memory() is None
        assert candidate.call() == 0.25
        assert candidate.peak_memory() == 1000


def test_a_process_that_ended_is_named(monkeypatch):
    with (
        start(monkeypatch, "pass") as process,
        pytest.raises(DistaxError, match="PyTorch's process ended"),
    ):
        process.deviation(SMALL)
