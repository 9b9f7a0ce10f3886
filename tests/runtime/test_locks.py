import os
import subprocess
import sys

import pytest

from distax import DistaxError
from distax.runtime.locks import alone_in

HOLDER = """
import sys
from pathlib import Path
from distax.runtime.locks import alone_in
with alone_in(Path(sys.argv[1]), "works"):
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that has locked a folder."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def test_a_second_process_is_refused_until_the_first_ends(holder, tmp_path):
    refused = pytest.raises(DistaxError, match="another process works in this folder; wait for it")
    with refused, alone_in(tmp_path, "works"):
        pass
    holder.communicate()
    with alone_in(tmp_path, "works"):
        assert os.listdir(tmp_path) == [".lock"]
    assert os.listdir(tmp_path) == []


def test_a_killed_process_leaves_no_lock(holder, tmp_path):
    holder.kill()
    holder.wait()
    with alone_in(tmp_path, "works"):
        pass


def test_a_folder_that_stays_empty_is_not_left(tmp_path):
    with pytest.raises(KeyError), alone_in(tmp_path / "new/run", "works"):
        raise KeyError
    assert not (tmp_path / "new/run").exists()
    with alone_in(tmp_path / "kept", "works"):
        (tmp_path / "kept/file").touch()
    assert os.listdir(tmp_path / "kept") == ["file"]
