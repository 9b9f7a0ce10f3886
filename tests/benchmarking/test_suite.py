import json

import jax
import pytest

from distax import DistaxError
from distax.benchmarking import Figure, measure, ratios, suite, write_figures
from distax.benchmarking.networks import Network
from distax.benchmarking.timing import Candidate
from distax.benchmarking.torch_process import TorchProcess
from distax.cli import benchmark
from distax.cli.main import main


def naps(*seconds_by_images, library="distax", program_bytes=None):
    def make(seconds):
        return lambda: Candidate(lambda: seconds, program_bytes)

    return [
        suite.Task("nap", images, {library: make(seconds)}, flops=100.0 * images)
        for images, seconds in seconds_by_images
    ]


def use(monkeypatch, tasks):
    monkeypatch.setattr(suite, "_tasks", lambda *_: tasks)


def test_a_batch_that_would_take_too_long_is_left_out(monkeypatch):
    use(monkeypatch, naps((64, 1.0), (128, 2.0), (65536, 1000.0)))
    found = list(measure(seconds=100.0))
    assert [figure.seconds for figure in found] == [1.0, 2.0, None]
    assert found[2].refused == "would take about 4,094 s"


def test_nothing_begins_after_the_time(monkeypatch):
    use(monkeypatch, naps((64, 1.0)))
    (figure,) = measure(seconds=0.0)
    assert figure.refused == "the time is up"


def test_a_batch_that_would_not_fit_into_the_memory_is_left_out(monkeypatch):
    monkeypatch.setattr(suite, "_memory_limit", lambda: 10**10)
    use(monkeypatch, naps((64, 1e-6), (128, 1e-6), (1024, 1e-6), program_bytes=4 * 10**9))
    small, double, large = measure(seconds=100.0)
    assert small.refused is double.refused is None
    assert large.refused == "would need about 32 GB of memory; there are 10 GB"


def test_every_batch_precision_and_window_is_measured():
    tasks = list(suite._tasks(None, (8, 2)))
    names = [(task.name, task.images) for task in tasks]
    assert names[:2] == [("simulation", 10_000), ("CSO-mAP", 10_000)]
    assert [name for name, _ in names[2:5]] == ["fast", "refine", "posterior"]
    dista = names[5:]
    assert len(dista) == len(set(dista)) == 2 * 2 * 2 * 2
    assert [images for _, images in dista] == [2] * 8 + [8] * 8
    assert {name for name, _ in dista} == {
        f"DISTA-Net {what}, {dtype}, {seen}"
        for what in ("inference", "training")
        for dtype in ("float32", "bfloat16")
        for seen in ("whole images", "window 7")
    }
    assert all(list(task.makers) == ["distax"] for task in tasks)


def test_pytorch_is_measured_beside_small_batches_of_whole_images():
    tasks = [task for task in suite._tasks(TorchProcess(), (2, 8192)) if "DISTA" in task.name]
    beside = {(task.name, task.images): list(task.makers)[1:] for task in tasks}
    eager, compiled = "PyTorch, eager", "PyTorch, compiled"
    for what in ("inference", "training"):
        assert beside[f"DISTA-Net {what}, float32, whole images", 2] == [eager, compiled]
        assert beside[f"DISTA-Net {what}, bfloat16, whole images", 2] == [eager]
        assert beside[f"DISTA-Net {what}, float32, window 7", 2] == []
        assert beside[f"DISTA-Net {what}, float32, whole images", 8192] == []


def test_a_network_is_measured():
    task = suite._network_task("inference", Network(2, stages=1, channels=4), None, False)
    candidate = task.makers["distax"]()
    assert candidate.call() > 0
    assert task.flops == Network(2, stages=1, channels=4).count_flops(training=False)


def test_the_metric_is_timed():
    assert suite._metric().call() > 0


def test_ratios_compare_the_same_batch_only():
    rows = [
        Figure("a", 64, "distax", 1.0),
        Figure("a", 64, "PyTorch, eager", 2.5),
        Figure("a", 64, "PyTorch, compiled", refused="no compiler"),
        Figure("a", 128, "PyTorch, eager", 9.0),
        Figure("b", 64, "distax", 1.0),
    ]
    assert ratios(rows) == [(rows[0], rows[1], 2.5)]


def test_utilisation_is_a_share_of_the_peak():
    figure = Figure("a", 8, seconds=0.5, flops=100.0, peak_flops=1000.0)
    assert figure.flops_per_second == 200.0
    assert figure.utilisation == 0.2
    assert Figure("a", 8, seconds=0.5, flops=100.0).utilisation is None


@pytest.mark.parametrize("has_torch", [True, False])
def test_the_command_prints_and_writes_its_figures(monkeypatch, tmp_path, capsys, has_torch):
    deviations = {"float32": 0.0, "bfloat16": 2e-3}
    monkeypatch.setattr("distax.benchmarking.check_parity", lambda: dict(deviations))
    monkeypatch.setattr("distax.benchmarking.check_torch", lambda _: {"PyTorch": 3e-6})
    monkeypatch.setattr("distax.benchmarking.has_torch", lambda: has_torch)
    monkeypatch.setattr(TorchProcess, "__enter__", lambda self: self)
    monkeypatch.setattr(TorchProcess, "__exit__", lambda *_: None)
    use(monkeypatch, [*naps((64, 0.5)), *naps((64, 1.0), library="PyTorch, eager")])
    main(["benchmark", "--json", str(tmp_path / "figures.json")])
    printed = capsys.readouterr().out
    assert "nap, 64 images, distax: 128 images/s, 500.0 ms" in printed
    assert "nap, 64 images: 2.00 times PyTorch, eager" in printed
    assert "parity, bfloat16: differences up to 2.0e-03" in printed
    assert ("PyTorch is not installed" in printed) != has_torch
    written = json.loads((tmp_path / "figures.json").read_text())
    assert written["parity"] == deviations | ({"PyTorch": 3e-6} if has_torch else {})
    assert written["jax"] == jax.__version__
    row = written["figures"][0]
    assert row.keys() == {
        "name", "images", "library", "seconds", "first_seconds", "flops", "peak_flops",
        "program_bytes", "peak_memory_bytes", "refused", "images_per_second", "flops_per_second",
        "utilisation",
    }  # fmt: skip
    assert (row["images_per_second"], row["flops_per_second"]) == (128, 12_800)


def test_a_line_has_speed_utilisation_and_memory():
    figure = Figure(
        "a",
        8,
        seconds=0.5,
        flops=1e14,
        peak_flops=1e15,
        program_bytes=10**9,
        peak_memory_bytes=2 * 10**9,
    )
    assert benchmark._line(figure) == (
        "a, 8 images, distax: 16 images/s, 500.0 ms, 200.00 TFLOP/s, 20.0% of the peak, "
        "1.00 GB planned, 2.00 GB at most so far"
    )
    assert benchmark._line(Figure("a", 8, refused="the time is up")) == (
        "a, 8 images, distax: not measured (the time is up)"
    )


@pytest.mark.parametrize("arguments", [["--batches"], ["--batches", "0"], ["--minutes", "-1"]])
def test_a_size_that_cannot_be_is_one_line(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["benchmark", *arguments])
    assert ended.value.code
    assert "Traceback" not in capsys.readouterr().err


def test_figures_are_written_whole(tmp_path):
    (tmp_path / "none").touch()
    path = tmp_path / "none" / "figures.json"
    with pytest.raises(DistaxError, match="cannot be written"):
        write_figures(path, {}, {}, [])
