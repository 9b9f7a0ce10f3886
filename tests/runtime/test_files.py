import os
from pathlib import Path

import pytest

from distax import DistaxError
from distax.runtime.files import atomic_write, check_outputs, local_copy, write_text


def test_text_is_written_and_replaced(tmp_path):
    path = tmp_path / "new" / "a.txt"
    write_text(path, "eins\n")
    write_text(path, "zwei\n")
    assert path.read_text() == "zwei\n"
    assert os.listdir(path.parent) == ["a.txt"]


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write():
        with atomic_write(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_path_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        DistaxError, match=r"file/a\.txt: cannot be written, as .*/file is not a folder"
    ):
        write_text(tmp_path / "file" / "a.txt", "")


def test_outputs_in_new_folders_are_fine(tmp_path):
    (tmp_path / "in").touch()
    outputs = {"--csv": tmp_path / "new" / "a.csv", "--json": tmp_path / "a.json", "--table": None}
    check_outputs(outputs, [tmp_path / "in"])
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_links_in_a_circle_are_no_files(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    check_outputs({"--csv": tmp_path / "a.csv"}, [tmp_path / "a", tmp_path / "b"])
    with pytest.raises(DistaxError, match="Too many levels of symbolic links"):
        write_text(tmp_path / "a", "new")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("in", "--csv: .*/in is also an input; name another file"),
        ("link", "--csv: .*/link is also an input"),
        ("hard", "--csv: .*/hard is also an input"),
        ("loop", "/loop: cannot be written"),
        ("loop/a.csv", "/loop/a.csv: cannot be written"),
        ("n" * 256, "n: cannot be written"),
        ("folder/../a.json", "--csv: .*a.json is also the file of --json"),
        ("folder", "--csv: .*/folder is a folder; name a file in it"),
        ("in/a.csv", "/in/a.csv: cannot be written, as .*/in is not a folder"),
    ],
)
def test_outputs_that_would_overwrite_or_could_not_be_written_are_refused(name, message, tmp_path):
    (tmp_path / "in").touch()
    (tmp_path / "link").symlink_to("in")
    (tmp_path / "hard").hardlink_to(tmp_path / "in")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "folder").mkdir()
    outputs = {"--json": tmp_path / "a.json", "--csv": tmp_path / name}
    with pytest.raises(DistaxError, match=message):
        check_outputs(outputs, [tmp_path / "in"])


def test_a_link_to_itself_cannot_be_written(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(DistaxError, match="/loop: cannot be written"):
        write_text(tmp_path / "loop", "")
    assert (tmp_path / "loop").is_symlink()


@pytest.mark.parametrize("name", ["a.json", "new/a.json"])
def test_a_folder_that_may_not_be_written_is_named_before_the_work(name, tmp_path, monkeypatch):
    # The superuser, as whom tests may run, may write to every folder.
    monkeypatch.setattr("os.access", lambda place, mode: Path(place) != tmp_path)
    with pytest.raises(DistaxError, match=r"a\.json: cannot be written \(Permission denied\)"):
        check_outputs({"--json": tmp_path / name})


def test_a_file_that_must_stay_is_named_before_the_work(tmp_path, monkeypatch):
    (tmp_path / "a.json").touch()
    tmp_path.chmod(0o1777)
    check_outputs({"--json": tmp_path / "a.json"})
    monkeypatch.setattr("os.geteuid", lambda: os.getuid() + 1)
    check_outputs({"--json": tmp_path / "b.json"})
    with pytest.raises(DistaxError, match=r"a\.json: cannot be written \(Permission denied\)"):
        check_outputs({"--json": tmp_path / "a.json"})


def test_a_device_that_is_not_open_is_named_before_the_work():
    with pytest.raises(DistaxError, match=r"/dev/fd/977: cannot be written \(Permission denied\)"):
        check_outputs({"--json": Path("/dev/fd/977")})


def test_a_reader_of_disks_does_not_wait_for_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with (
        pytest.raises(DistaxError, match="pipe: is no regular file"),
        local_copy(tmp_path / "pipe"),
    ):
        pass
