import json
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax import DistaxError
from distax.benchmarking import Figure, measure, suite, write_figures
from distax.benchmarking.figures import time_calls
from distax.cli.main import main


def test_the_first_call_is_not_the_time():
    naps = iter([0.2, 0.05, 0.02, 0.05])

    def call():
        time.sleep(next(naps))
        return jnp.zeros(())

    figure = time_calls("nap", 10, call)
    assert figure.first_seconds >= 0.2
    assert 0.02 <= figure.seconds < 0.2
    assert figure.images_per_second == pytest.approx(10 / figure.seconds)


def tasks(*seconds_by_images, error=None):
    def make(images, seconds):
        if error:
            raise error
        return Figure("nap", images, seconds, seconds)

    return [
        suite._Task("nap", images, lambda i=images, s=seconds: make(i, s))
        for images, seconds in seconds_by_images
    ]


def test_a_batch_that_would_take_too_long_is_left_out(monkeypatch):
    monkeypatch.setattr(suite, "_tasks", lambda _: tasks((64, 1.0), (128, 2.0), (65536, 1000.0)))
    found = list(measure((), seconds=100.0))
    assert [figure.seconds for figure in found] == [1.0, 2.0, None]
    assert found[2].refused == "would take too long"


def test_a_device_without_enough_memory_is_named(monkeypatch):
    error = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory\nmore lines")
    monkeypatch.setattr(suite, "_tasks", lambda _: tasks((64, 1.0), error=error))
    (figure,) = measure(())
    assert figure.refused == "RESOURCE_EXHAUSTED: out of memory"


def test_every_batch_and_precision_is_measured():
    names = [(task.name, task.images) for task in suite._tasks((8, 2))]
    assert names[:2] == [("simulation", 10_000), ("CSO-mAP", 10_000)]
    dista = [name for name in names if name[0].startswith("DISTA-Net")]
    assert len(dista) == len(set(dista)) == 2 * 2 * 2 * 2
    assert [images for _, images in dista] == [2] * 8 + [8] * 8


def test_the_metric_is_timed():
    figure = suite._metric()
    assert figure.images == 10_000
    assert figure.seconds > 0


def test_a_device_that_computes_otherwise_is_refused(monkeypatch):
    answers = iter([np.ones((2, 3, 3)), 1.1 * np.ones((2, 3, 3))])
    monkeypatch.setattr(suite.jax, "jit", lambda _: lambda *_: next(answers))
    monkeypatch.setattr(suite, "simulate", lambda *_: (np.zeros((2, 3, 3)), None))
    with pytest.raises(
        DistaxError, match=r"differs from the CPU by 1\.0e-01 of the brightest node"
    ):
        suite.check_parity()


def test_the_command_prints_and_writes_its_figures(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(suite, "check_parity", lambda: 0.0)
    monkeypatch.setattr(suite, "_tasks", lambda _: tasks((64, 0.5)))
    main(["benchmark", "--json", str(tmp_path / "figures.json")])
    assert "nap, 64 images: 128 images/s, 500.0 ms" in capsys.readouterr().out
    written = json.loads((tmp_path / "figures.json").read_text())
    assert written["figures"][0]["images_per_second"] == 128
    assert written["jax"] == jax.__version__


def test_figures_are_written_whole(tmp_path):
    (tmp_path / "none").touch()
    path = tmp_path / "none" / "figures.json"
    with pytest.raises(DistaxError, match="cannot be written"):
        write_figures(path, [])
