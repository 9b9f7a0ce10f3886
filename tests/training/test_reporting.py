import json
import struct

import pytest
from etils import epath
from tensorboardX.proto.event_pb2 import Event

from distax.training.reporting import Reporter


def events(folder):
    """Reads the events in TensorBoard's files: each follows its length and a checksum, and precedes
    another checksum."""
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            yield Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]


@pytest.mark.parametrize("start", [0, 4])
def test_what_a_crashed_run_did_after_its_checkpoint_is_told_once(tmp_path, start):
    with Reporter(epath.Path(tmp_path), 8, 0) as report:
        for step in (2, 4, 6):
            report.log(step, loss=1.0)
    log = tmp_path / "metrics.jsonl"
    log.write_text(log.read_text() + '{"step": 8, "lo')
    with Reporter(epath.Path(tmp_path), 8, start) as report:
        report.log(6, loss=0.5)
    expected = [{"step": step, "loss": 1.0} for step in (2, 4) if step <= start]
    told = [json.loads(line) for line in log.read_text().splitlines()]
    assert told == [*expected, {"step": 6, "loss": 0.5}]
    # TensorBoard drops what files before this event say of its step and later ones.
    starts = [e.step for e in events(tmp_path / "tensorboard") if e.HasField("session_log")]
    assert starts[-1] == start + 1
