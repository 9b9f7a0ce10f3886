import json
import zipfile

import numpy as np
import pytest

from distax import DistaxError
from distax.export.archive import read, write

ABOUT = {"method": "fast", "sensor": {"sigma": 0.5}, "unit": "px²"}


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "a.distax"
    write(path, ABOUT, b"program" * 100)
    about, program = read(path)
    assert about.pop("format") == "distax export 1"
    assert (about, program) == (ABOUT, b"program" * 100)


def test_equal_contents_make_equal_files(tmp_path):
    for name in "ab":
        write(tmp_path / name, ABOUT, bytes(range(200)))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def refusal(path):
    with pytest.raises(DistaxError) as got:
        read(path)
    assert "\n" not in str(got.value)
    return str(got.value)


def test_a_file_cut_short_or_changed_anywhere_is_refused(tmp_path):
    path, damaged = tmp_path / "a.distax", tmp_path / "damaged.distax"
    write(path, ABOUT, bytes(range(256)))
    content = path.read_bytes()
    for size in range(len(content)):
        damaged.write_bytes(content[:size])
        assert f"{damaged}: not a whole file of `distax export`" in refusal(damaged)
    for position in (content.index(bytes(range(250))) + offset for offset in (0, 100, 249)):
        damaged.write_bytes(content[:position] + b"x" + content[position + 1 :])
        assert "not a whole file of `distax export`" in refusal(damaged)


def test_other_files_are_refused(tmp_path):
    other, folder, later = tmp_path / "other.zip", tmp_path / "folder", tmp_path / "later.distax"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "no item named 'about.json'" in refusal(other)
    with zipfile.ZipFile(later, "w") as archive:
        archive.writestr("about.json", json.dumps({"format": "distax export 2"}))
        archive.writestr("program.bin", b"")
    assert "its format is 'distax export 2', this distax reads 'distax export 1'" in refusal(later)
    folder.mkdir()
    assert f"{folder}: cannot be read (Is a directory)" in refusal(folder)
    assert "none: cannot be read (No such file or directory)" in refusal(tmp_path / "none")


def test_what_cannot_be_written_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "a.distax"
    write(path, ABOUT, b"first")

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(DistaxError, match=r"a\.distax: cannot be written \(No space left"):
        write(path, ABOUT, b"second")
    assert read(path)[1] == b"first"
    assert [found.name for found in tmp_path.iterdir()] == ["a.distax"]


def test_an_archive_that_says_it_is_encrypted_is_refused(tmp_path):
    path = tmp_path / "a.distax"
    write(path, ABOUT, b"program")
    content = bytearray(path.read_bytes())
    for place in range(len(content)):
        if content.startswith(b"PK\x01\x02", place):
            content[place + 8] |= 1
    path.write_bytes(content)
    assert "not a whole file of `distax export`" in refusal(path)


@pytest.mark.parametrize("name", ["big.bin", "about.json", "program.bin"])
def test_a_member_of_zeros_is_not_unpacked(tmp_path, monkeypatch, name):
    """Zeros of 64 MiB, which are stored in 64 KiB: as the only program, beside it or instead."""
    path = tmp_path / "a.distax"
    members = {"about.json": b'{"format": "distax export 1"}', "program.bin": b"program"}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in (members | {name: bytes(2**26)}).items():
            archive.writestr(member, content)
    unpack = zipfile.ZipFile.read

    def read_small(archive, member, *arguments):
        assert archive.getinfo(getattr(member, "filename", member)).file_size < 2**20
        return unpack(archive, member, *arguments)

    monkeypatch.setattr(zipfile.ZipFile, "read", read_small)
    told = "it also holds 'big.bin'" if name == "big.bin" else f"{name} is to unpack to 67,108,864"
    assert f"not a whole file of `distax export` ({told}" in refusal(path)


def test_zeros_beside_noise_are_read(tmp_path):
    """A network's weights may begin with zeros."""
    program = bytes(2**22) + np.random.default_rng(0).bytes(2**18)
    write(tmp_path / "a.distax", ABOUT, program)
    assert read(tmp_path / "a.distax")[1] == program


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["about.json", "program.bin"])
def test_a_member_that_is_there_twice_is_refused(tmp_path, name):
    path = tmp_path / "a.distax"
    write(path, ABOUT, b"program")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, archive.read(name))
    assert "not a whole file of `distax export` (it holds a member twice)" in refusal(path)


def test_an_archive_without_a_program_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.distax", "w") as archive:
        archive.writestr("about.json", '{"format": "distax export 1"}')
    assert refusal(tmp_path / "a.distax").endswith("a.distax: has no program; export again")


def test_more_stored_bytes_than_the_file_has_are_not_believed(tmp_path):
    path = tmp_path / "a.distax"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("about.json", b'{"format": "distax export 1"}')
        archive.writestr("program.bin", bytes(2**26))
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 20 : entry + 24] = (2**25).to_bytes(4, "little")
    path.write_bytes(content)
    assert "program.bin is to unpack to 67,108,864 bytes from 6" in refusal(path)
