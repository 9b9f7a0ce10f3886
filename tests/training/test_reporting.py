import struct

import jax.numpy as jnp
import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from distax.training import reporting
from distax.training.reporting import LossLog, Reporter


def read_events(content):
    """Reads the events of one of TensorBoard's files: each follows its length and a checksum, and
    precedes another checksum."""
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        yield Event.FromString(content[12 : 12 + length])
        content = content[16 + length :]


class Recorder:
    """A tracker that keeps its calls."""

    def __init__(self):
        self.calls = []

    def describe(self, config):
        self.calls.append(("describe", dict(config)))

    def log(self, step, figures):
        self.calls.append((step, dict(figures)))

    def flush(self):
        self.calls.append("flush")

    def close(self):
        self.calls.append("close")


def test_every_tracker_gets_every_figure_and_is_closed():
    trackers = [Recorder(), Recorder()]
    with Reporter(trackers, 8, 0) as report:
        report.log(2, loss=1.0, speed=3.0)
        report.flush()
    for tracker in trackers:
        assert tracker.calls == [(2, {"loss": 1.0, "speed": 3.0}), "flush", "close"]


def test_trackers_are_closed_after_an_error():
    class Fails(Recorder):
        def close(self):
            super().close()
            raise OSError("no")

    trackers = [Recorder(), Fails(), Recorder()]
    with pytest.raises(OSError, match="no"), Reporter(trackers, 8, 0):
        raise ValueError("of the run")
    assert [tracker.calls for tracker in trackers] == [["close"]] * 3


def test_figures_are_stored_once_a_minute(monkeypatch):
    clock = iter([0.0, 59.0, 61.0, 61.0, 100.0, 122.0, 122.0])
    monkeypatch.setattr(reporting.time, "monotonic", lambda: next(clock))
    tracker = Recorder()
    with Reporter([tracker], 8, 0) as report:
        for _ in range(4):
            report.log(1)
    assert tracker.calls == [(1, {}), (1, {}), "flush", (1, {}), (1, {}), "flush", "close"]


def test_speeds_leave_out_compilation(monkeypatch):
    """The first steps are compiled until 100 s; after them a step takes one second."""
    now = 0.0
    monkeypatch.setattr(reporting.time, "perf_counter", lambda: now)
    tracker = Recorder()
    with Reporter([tracker], 6, 0) as report:
        log = LossLog(report, "run", 8, 2, lambda step: step in (2, 6), lambda seconds: None)
        for span, end in ((range(2), 100.0), (range(2, 4), 102.0), (range(4, 6), 104.0)):
            log.add(span, jnp.ones(2), np.array(False), timed=span.start > 0)
            now = end
            log.read(keep=0)
    first, second, _ = tracker.calls
    assert first == (2, {"loss": 1.0})
    assert second[1]["step_seconds"] == 1.0
    assert second[1]["images_per_second"] == 8.0
    assert second[1]["images_per_second_per_device"] == 4.0
