import copy
import logging
import os
import pickle
from pathlib import Path

import fsspec
import numpy as np
import pytest

from distax import DistaxError
from distax.runtime.buckets import BucketPath, as_epath, as_path
from distax.runtime.files import (
    GrowingFiles,
    atomic_write,
    check_outputs,
    local_copy,
    write_text,
)

PLACE = as_path("gs://bucket/folder/a.tar.gz")


@pytest.fixture
def folder(place):
    return as_path(place)


def name(path):
    """Returns the object's name in the emulator."""
    return str(path).removeprefix("gs://bucket/")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (PLACE, "gs://bucket/folder/a.tar.gz"),
        (PLACE.parent, "gs://bucket/folder"),
        (PLACE.parent / "b" / "c", "gs://bucket/folder/b/c"),
        (PLACE.with_suffix(".zip"), "gs://bucket/folder/a.tar.zip"),
        (PLACE.with_name("b"), "gs://bucket/folder/b"),
        (PLACE.resolve(), "gs://bucket/folder/a.tar.gz"),
        (PLACE.expanduser(), "gs://bucket/folder/a.tar.gz"),
        (as_path(PLACE), "gs://bucket/folder/a.tar.gz"),
        (as_path("gs://bucket/"), "gs://bucket"),
        (as_path("gs://bucket//a"), "gs://bucket/a"),
        (pickle.loads(pickle.dumps(PLACE)), "gs://bucket/folder/a.tar.gz"),
        (copy.deepcopy(PLACE), "gs://bucket/folder/a.tar.gz"),
    ],
)
def test_a_path_stays_in_the_bucket(path, expected):
    assert isinstance(path, BucketPath)
    assert str(path) == os.fspath(path) == f"{path}" == expected
    assert path == as_path(expected)
    assert hash(path) == hash(as_path(expected))
    assert path.bucket == "bucket"


def test_a_path_on_disk_stays_as_it_is(tmp_path):
    assert as_path(tmp_path) is tmp_path
    assert as_path("a/b") == Path("a/b")
    assert not isinstance(as_path("gs/b"), BucketPath)
    assert os.fspath(as_epath(tmp_path)) == str(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("s3://bucket/a", "s3://bucket/a: s3:// is not known; name a place on disk or in a bucket"),
        ("gs://", "gs://: names no bucket; write gs://bucket/folder"),
        ("gs:///a", "gs:///a: names no bucket"),
    ],
)
def test_another_address_is_refused(text, message):
    with pytest.raises(DistaxError, match=message):
        as_path(text)


def test_an_object_is_read_and_written_whole(folder, emulator):
    content = np.random.default_rng(0).bytes(100_000)
    path = folder / "in" / "a.bin"
    path.write_bytes(content)
    assert emulator.read(name(path)) == path.read_bytes() == content
    with path.open("rb") as file:
        assert file.read() == content
    (folder / "b.txt").write_text("μ\n")
    assert emulator.read(name(folder / "b.txt")) == "μ\n".encode()
    assert (folder / "b.txt").read_text() == "μ\n"
    with pytest.raises(OSError, match="an object can only be written whole"):
        path.open("wb")


def test_folders_are_beginnings_of_names(folder, emulator):
    folder.mkdir()
    assert not folder.exists()
    assert list(folder.glob("*")) == []
    for one in ("a.png", "b.txt", "deep/c.png"):
        emulator.write(name(folder / one), b"x")
    assert folder.is_dir()
    assert not folder.is_file()
    assert (folder / "a.png").is_file()
    assert not (folder / "a.png").is_dir()
    assert not (folder / "a").exists()
    assert sorted(folder.iterdir()) == [folder / one for one in ("a.png", "b.txt", "deep")]
    assert list(folder.glob("*.png")) == [folder / "a.png"]


def test_what_another_process_wrote_is_seen_at_once(folder, emulator):
    emulator.write(name(folder / "a"), b"1")
    etils = as_epath(folder)
    assert [path.name for path in etils.iterdir()] == [path.name for path in folder.iterdir()]
    emulator.write(name(folder / "b"), b"2")
    assert [path.name for path in etils.iterdir()] == ["a", "b"]
    assert [path.name for path in folder.iterdir()] == ["a", "b"]
    assert (etils / "b").read_bytes() == b"2"


def test_an_interrupted_write_leaves_the_old_object(folder, emulator):
    path = folder / "a.txt"
    write_text(path, "old")

    def write():
        with atomic_write(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert emulator.read(name(path)) == b"old"
    assert emulator.names(name(folder)) == [name(path)]
    write_text(path, "new")
    assert emulator.read(name(path)) == b"new"


@pytest.mark.parametrize(("size", "answered"), [(100, 0), (6_000_000, 1)])
def test_an_upload_that_ends_in_its_middle_leaves_the_old_object(
    folder, emulator, size, answered, monkeypatch
):
    """Beyond 5 MB, gcsfs announces an object by a request, and sends it by others."""
    path = folder / "a.bin"
    path.write_bytes(b"old")
    uploads = []

    def hang_up(method, sent_to):
        if "/upload/" in sent_to:
            uploads.append(method)
            if len(uploads) > answered:
                raise ConnectionAbortedError("the network is gone")

    async def at_once(seconds):
        """Takes the place of the wait before gcsfs tries again."""

    monkeypatch.setattr("gcsfs.retry.asyncio.sleep", at_once)
    emulator.watch = hang_up

    def write():
        with atomic_write(path) as temporary:
            temporary.write_bytes(bytes(size))

    with pytest.raises(DistaxError, match=rf"^{path}: cannot be written \("):
        write()
    assert len(uploads) > answered
    assert emulator.read(name(path)) == b"old"
    assert emulator.names(name(folder)) == [name(path)]


def test_readers_that_know_no_buckets_get_a_copy(folder, tmp_path):
    (folder / "a.npy").write_bytes(b"content")
    with local_copy(folder / "a.npy") as local:
        assert local.name == "a.npy"
        assert local.read_bytes() == b"content"
    assert not local.exists()
    with local_copy(tmp_path) as local:
        assert local == tmp_path
    with pytest.raises(FileNotFoundError, match="no such object or bucket"):
        local_copy(folder / "b.npy").__enter__()


def test_growing_files_are_uploaded_when_they_changed(folder, emulator):
    (folder / "log").write_text("1\n")
    files = GrowingFiles(folder, known=["log", "missing"])
    uploads = []
    emulator.watch = lambda method, path: uploads.append(path) if "/upload/" in path else None
    with (files.local / "log").open("a") as file:
        file.write("2\n")
    (files.local / "deep").mkdir()
    (files.local / "deep" / "events").write_text("event")
    files.upload()
    assert emulator.read(name(folder / "log")) == b"1\n2\n"
    assert emulator.read(name(folder / "deep" / "events")) == b"event"
    assert len(uploads) == 2
    files.upload()
    assert len(uploads) == 2
    (files.local / "log").write_text("1\n2\n3\n")
    files.close()
    assert emulator.read(name(folder / "log")) == b"1\n2\n3\n"
    assert len(uploads) == 3
    assert not files.local.exists()


def test_a_growing_file_that_another_process_deletes_meanwhile_is_left_out(
    folder, emulator, monkeypatch
):
    files, upload = GrowingFiles(folder), BucketPath.upload
    for name in ("a", "b", "c"):
        (files.local / name).write_text(name)

    def delete_next(target, local):
        upload(target, local)
        (files.local / "b").unlink(missing_ok=True)

    monkeypatch.setattr(BucketPath, "upload", delete_next)
    files.close()
    assert sorted(path.name for path in folder.iterdir()) == ["a", "c"]


def test_growing_files_on_disk_are_the_files(tmp_path):
    files = GrowingFiles(tmp_path / "new" / "folder")
    (files.local / "a").write_text("1")
    files.close()
    assert (tmp_path / "new" / "folder" / "a").read_text() == "1"
    (tmp_path / "file").touch()
    with pytest.raises(DistaxError, match=r"file/a: cannot be written \(Not a directory\)"):
        GrowingFiles(tmp_path / "file" / "a")


@pytest.mark.parametrize(
    "use",
    [
        BucketPath.check,
        as_epath,
        lambda path: write_text(path, "a"),
        lambda path: check_outputs({"--json": path}),
        GrowingFiles,
    ],
    ids=["check", "as_epath", "write_text", "check_outputs", "GrowingFiles"],
)
def test_a_bucket_that_is_not_there_is_named(emulator, use):
    with pytest.raises(DistaxError) as caught:
        use(as_path("gs://another/a.json"))
    expected = "gs://another/a.json: there is no bucket another; make it first or correct the name"
    assert str(caught.value) == expected


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_request_tells_of_credentials(folder, monkeypatch, status):
    refused = fsspec.filesystem("gcs")

    def refuse(*arguments, **options):
        if status == 401:
            from gcsfs.retry import HttpError

            raise HttpError({"code": 401, "message": "Anonymous caller does not have access"})
        raise OSError("Forbidden: https://storage.googleapis.com\nno access")

    monkeypatch.setattr(refused, "call", refuse)
    with pytest.raises(DistaxError, match=r"cannot be read .*; check the network and the credent"):
        folder.check()


@pytest.fixture(autouse=True)
def _quiet():
    """gcsfs looks for the bucket's type by credentials, which the tests lack."""
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)
