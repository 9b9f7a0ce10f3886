import os
import stat
import subprocess
import sys
import threading

import pytest

from distax import DistaxError
from distax.runtime.files import atomic_write, write_text

WRITER = """
import os, sys
from pathlib import Path
from distax.runtime.files import atomic_write
with atomic_write(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print("ready", flush=True)
    sys.stdin.read()
"""


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(("umask", "expected"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_new_file_has_the_permissions_that_the_umask_leaves(umask, expected, tmp_path):
    before = os.umask(umask)
    try:
        write_text(tmp_path / "a.txt", "new")
    finally:
        os.umask(before)
    assert mode(tmp_path / "a.txt") == expected


def test_a_replaced_file_keeps_its_permissions(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    path.chmod(0o640)
    write_text(path, "new")
    assert (path.read_text(), mode(path)) == ("new", 0o640)


def test_a_link_stays_and_its_file_is_replaced(tmp_path):
    (tmp_path / "folder").mkdir()
    file, link = tmp_path / "folder/a.txt", tmp_path / "a.txt"
    file.write_text("old")
    link.symlink_to("folder/a.txt")
    write_text(link, "new")
    assert link.is_symlink()
    assert file.read_text() == "new"
    assert os.listdir(tmp_path / "folder") == ["a.txt"]


def test_a_pipe_is_written_into(tmp_path):
    pipe, read = tmp_path / "a.txt", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write_text(pipe, "content")
    reader.join()
    assert read == ["content"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no such device here")
def test_a_device_stays_one(tmp_path):
    write_text(tmp_path / "a.txt", "content")
    link = tmp_path / "null"
    link.symlink_to("/dev/null")
    write_text(link, "content")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    (tmp_path / "full").symlink_to("/dev/full")
    with pytest.raises(DistaxError, match=r"full: cannot be written \(No space left on device\)"):
        write_text(tmp_path / "full", "content")


def test_files_of_dead_processes_are_deleted_and_those_of_living_ones_are_not(tmp_path):
    path = tmp_path / "a.txt"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    assert len(os.listdir(tmp_path)) == 2
    writers[0].kill()
    writers[0].communicate()
    write_text(tmp_path / "b.txt", "another")
    assert len(os.listdir(tmp_path)) == 3
    write_text(path, "new")
    assert len(os.listdir(tmp_path)) == 3  # two files and the living writer's
    assert path.read_text() == "new"
    writers[1].communicate()
    assert path.read_text() == "half"
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "b.txt"]


def test_any_name_can_be_written(tmp_path):
    for name in (
        "a b.txt",
        "new\nline.txt",
        "[red]*?.txt",
        b"\xff.txt".decode(errors="surrogateescape"),
        "s" * 255,
        f"a.{'s' * 253}",
    ):
        with atomic_write(tmp_path / name) as temporary:
            temporary.write_text(os.fsencode(name).hex())
        assert (tmp_path / name).exists()
    assert len(os.listdir(tmp_path)) == 6
