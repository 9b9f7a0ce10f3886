import json
import zlib

import ml_dtypes
import numpy as np
import pytest

from distax import DistaxError
from distax.runtime.checksums import (
    add_file_checksums,
    check_arrays_intact,
    check_finite_arrays,
    check_version,
    checksum_of_settings,
    checksums,
    find_damaged_file,
    write_file_checksums,
)

TREE = {"a": np.arange(6.0), "b": {"c": np.ones(3, ml_dtypes.bfloat16), "d": np.int32(4)}}


def test_checksums_are_those_of_the_arrays_bytes():
    expected = {"a": np.arange(6.0), "b.c": TREE["b"]["c"], "b.d": np.int32(4)}
    assert checksums(TREE) == {name: zlib.crc32(x.tobytes()) for name, x in expected.items()}


def test_every_flipped_bit_of_an_array_is_found():
    stored = checksums(TREE)
    check_arrays_intact("file", stored, TREE)
    for bit in range(8 * TREE["a"].nbytes):
        content = bytearray(TREE["a"].tobytes())
        content[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DistaxError, match="file: array a is damaged"):
            check_arrays_intact("file", stored, TREE | {"a": np.frombuffer(content)})


def test_an_array_without_a_checksum_is_damaged_unless_there_are_none():
    check_arrays_intact("file", None, TREE)
    with pytest.raises(DistaxError, match=r"array b\.c is damaged"):
        check_arrays_intact("file", checksums({"a": TREE["a"]}), TREE)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_named(number):
    check_finite_arrays("file", TREE)
    with pytest.raises(DistaxError, match="file: array a has NaN or infinite numbers"):
        check_finite_arrays("file", TREE | {"a": np.array([1.0, number])})


def test_the_order_of_settings_does_not_matter_and_their_values_do():
    assert checksum_of_settings({"a": 1, "b": 0.5}) == checksum_of_settings({"b": 0.5, "a": 1})
    assert checksum_of_settings({"a": 1}) != checksum_of_settings({"a": 2})


def test_a_damaged_or_missing_file_is_found(tmp_path):
    assert find_damaged_file(tmp_path) is None  # no checksums
    files = {"a": b"one", "folder/b": b"two", "folder/c": b""}
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    write_file_checksums(tmp_path)
    assert find_damaged_file(tmp_path) is None
    (tmp_path / "folder/b").write_bytes(b"twO")
    assert find_damaged_file(tmp_path) == "folder/b"
    (tmp_path / "folder/b").write_bytes(b"two")
    (tmp_path / "folder/c").unlink()
    assert find_damaged_file(tmp_path) == "folder/c"


def test_checksums_are_added_once_and_without_unfinished_files(tmp_path):
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / ".distax-5bcc9732-0123abcd.json").write_bytes(b"{")
    add_file_checksums(tmp_path)
    assert json.loads((tmp_path / "checksums.json").read_text()) == {"a": zlib.crc32(b"one")}
    (tmp_path / "a").write_bytes(b"onE")
    add_file_checksums(tmp_path)
    assert find_damaged_file(tmp_path) == "a"


@pytest.mark.parametrize("content", ["[", "[]", json.dumps({"../../etc/hostname": 0})])
def test_damaged_checksums_are_damage(content, tmp_path):
    (tmp_path / "checksums.json").write_text(content)
    assert find_damaged_file(tmp_path) is not None


@pytest.mark.parametrize("version", [-1, 0, True, None, 1.0, "1"])
def test_what_is_no_version_is_refused(version):
    with pytest.raises(DistaxError, match=f"a: {version!r} is no version of weights, so it is"):
        check_version("a", "weights", version, 3)


def test_versions_from_the_first_to_the_newest_are_read():
    for version in (1, 2, 3):
        check_version("a", "weights", version, 3)
    with pytest.raises(DistaxError, match="a: version 4 of weights, this distax reads 3; install"):
        check_version("a", "weights", 4, 3)
