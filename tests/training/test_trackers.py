import json
import resource
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from distax import DistaxError
from distax.runtime.buckets import as_path
from distax.training.trackers import JsonLines, Tracker, open_trackers
from tests.training.test_reporting import read_events

CONFIG = {"steps": 8, "model": {"name": "dista"}}


def write(names, run, start, steps, loss):
    """Logs a loss at each of some steps, as a run that then ends."""
    (tracker,) = open_trackers(names, run, start)
    assert isinstance(tracker, Tracker)
    tracker.describe(CONFIG)
    for step in steps:
        tracker.log(step, {"loss": loss, "speed": 3.0})
    tracker.close()


@pytest.fixture(params=["disk", "bucket"])
def run(request, tmp_path):
    """A run's folder, on disk and in a bucket."""
    if request.param == "disk":
        return tmp_path / "run"
    return as_path(request.getfixturevalue("place"))


@pytest.mark.parametrize("start", [0, 4])
def test_lines_after_the_checkpoint_are_written_once(run, start):
    write(["jsonl"], run, 0, (2, 4, 6), 1.0)
    log = run / "metrics.jsonl"
    log.write_text(log.read_text() + '{"step": 8, "lo')
    write(["jsonl"], run, start, (6,), 0.5)
    expected = [{"step": step, "loss": 1.0, "speed": 3.0} for step in (2, 4) if step <= start]
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert lines == [*expected, {"step": 6, "loss": 0.5, "speed": 3.0}]
    assert json.loads((run / "config.json").read_text()) == CONFIG


def test_lines_on_disk_are_there_at_once(tmp_path):
    (tracker,) = open_trackers(["jsonl"], tmp_path, 0)
    tracker.log(2, {"loss": 1.0})
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 2, "loss": 1.0}\n'
    tracker.close()


@pytest.mark.parametrize("name", ["jsonl", "tensorboard"])
def test_figures_that_were_flushed_survive_a_crash(place, name):
    run = as_path(place)
    (tracker,) = open_trackers([name], run, 0)
    tracker.log(2, {"loss": 1.5})
    tracker.flush()
    (path,) = list(run.glob("metrics.jsonl")) + list((run / "tensorboard").glob("*"))
    content = path.read_bytes()
    if name == "jsonl":
        assert content == b'{"step": 2, "loss": 1.5}\n'
    else:
        assert scalars(content) == [(2, "loss", 1.5)]
    tracker.close()


def scalars(content):
    return [
        (event.step, value.tag, value.simple_value)
        for event in read_events(content)
        for value in event.summary.value
        if value.HasField("simple_value")
    ]


def test_tensorboard_drops_what_comes_again(run):
    write(["tensorboard"], run, 0, (2, 4, 6), 1.0)
    first = set((run / "tensorboard").iterdir())
    write(["tensorboard"], run, 4, (6,), 0.5)
    (old,), (new,) = first, set((run / "tensorboard").iterdir()) - first
    assert [step for step, tag, _ in scalars(old.read_bytes()) if tag == "loss"] == [2, 4, 6]
    assert scalars(new.read_bytes()) == [(6, "loss", 0.5), (6, "speed", 3.0)]
    # TensorBoard drops what files before this event say of its step and later ones.
    starts = [e.step for e in read_events(new.read_bytes()) if e.HasField("session_log")]
    assert starts == [5]
    (text,) = (
        value.tensor.string_val[0].decode()
        for event in read_events(new.read_bytes())
        for value in event.summary.value
        if value.HasField("tensor")
    )
    assert json.loads(text.removeprefix("```json\n").removesuffix("\n```")) == CONFIG


# W&B starts a process of its own, which outlives a test that runs it itself.
WANDB = """
import sys
from distax.runtime.buckets import as_path
from distax.training.trackers import open_trackers

run, start, *steps = sys.argv[1:]
(tracker,) = open_trackers(["wandb"], as_path(run), int(start))
tracker.describe({"steps": 8, "model": {"name": "dista"}})
for step in map(int, steps):
    tracker.log(step, {"loss": step / 4})
tracker.flush()
tracker.close()
"""


def records(path):
    """Reads the records of a file of W&B's offline mode.

    It is a log of LevelDB after a head of seven bytes: blocks of 32 KiB that hold pieces of
    records. Each piece follows its checksum, its length and its place in the record.
    """
    from wandb.proto.wandb_internal_pb2 import Record

    content, position, record = path.read_bytes(), 7, b""
    while position < len(content):
        left = 2**15 - position % 2**15
        if left < 7:
            position += left
            continue
        length, piece = struct.unpack("<HB", content[position + 4 : position + 7])
        record += content[position + 7 : position + 7 + length]
        position += 7 + length
        if piece in (1, 4):  # the whole of a record, or its last piece
            yield Record.FromString(record)
            record = b""


def test_wandb_holds_the_figures_offline(run, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    for arguments in (["0", "2", "4"], ["4", "6"]):
        command = [sys.executable, "-c", WANDB, str(run), *arguments]
        subprocess.run(command, check=True, capture_output=True, timeout=300)
    identity = (run / "wandb" / "id").read_text()
    figures, identities, configs = [], set(), []
    for folder in (run / "wandb").glob("offline-run-*"):
        for record in records(folder / f"run-{identity}.wandb"):
            if record.HasField("run"):
                identities.add((record.run.run_id, record.run.project, record.run.display_name))
            configs += [(item.key, item.value_json) for item in record.config.update]
            items = {
                item.key or ".".join(item.nested_key): json.loads(item.value_json)
                for item in record.history.item
            }
            if "loss" in items:
                figures.append((record.history.step.num, items["loss"]))
    assert sorted(figures) == [(2, 0.5), (4, 1.0), (6, 1.5)]
    assert identities == {(identity, "distax", run.name)}
    assert ("steps", "8") in configs


class Writing:
    """A run of W&B whose process writes the end of its file when it ends."""

    def __init__(self, folder):
        self.log = folder / "wandb" / "run.wandb"

    def finish(self):
        self.log.write_text("begun")

    def teardown(self):
        self.log.write_text("begun and ended")


@pytest.mark.parametrize("another", [None, "of the caller"])
def test_the_end_of_wandbs_file_is_awaited_for_a_bucket(place, monkeypatch, another):
    wandb, started = pytest.importorskip("wandb"), []

    def start(**options):
        started.append(Writing(Path(options["dir"])))
        return started[0]

    monkeypatch.setattr(wandb, "init", start)
    monkeypatch.setattr(wandb, "teardown", lambda: started[0].teardown())
    monkeypatch.setattr(wandb, "run", another)
    run = as_path(place)
    (tracker,) = open_trackers(["wandb"], run, 0)
    tracker.close()
    assert (run / "wandb/run.wandb").read_text() == ("begun" if another else "begun and ended")


def test_wandb_without_an_account_says_how_to_go_on(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")

    def refuse(**options):
        raise wandb.errors.UsageError("No API key configured.\nUse `wandb login`")

    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.raises(DistaxError, match=r"W&B cannot be started .No API key configured.*offline"):
        open_trackers(["wandb"], tmp_path / "run", 0)


def test_trackers_are_closed_if_another_cannot_be_opened(tmp_path, monkeypatch):
    (tmp_path / "tensorboard").touch()
    closed, close = [], JsonLines.close
    monkeypatch.setattr(JsonLines, "close", lambda tracker: closed.append(close(tracker)))
    with pytest.raises(DistaxError, match="cannot be written"):
        open_trackers(["jsonl", "tensorboard"], tmp_path, 0)
    assert len(closed) == 1


def log_often(tracker):
    for step in range(100):
        tracker.log(step, {"loss": 1.0})
        tracker.flush()


@pytest.mark.parametrize(
    ("name", "file"), [("jsonl", "metrics.jsonl"), ("tensorboard", r"tensorboard/events\.\S+")]
)
def test_a_full_disk_is_told_with_the_file(tmp_path, name, file):
    (tracker,) = open_trackers([name], tmp_path, 0)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    line = rf"^{tmp_path}/{file}: cannot be written \(File too large\)$"
    # Writes beyond 1 kB of a file fail from here on, as they would on a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(DistaxError, match=line):
            log_often(tracker)
        with pytest.raises(DistaxError, match=line):
            tracker.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
