"""`distax unmix --output`, also in processes that are killed and processes that share the work."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from distax import Unmixer
from distax.cli.main import main
from distax.imaging.scenes import simulate
from distax.shards import read_results

SHARDS, IMAGES = 8, 160
DISTAX = Path(sys.executable).with_name("distax")


@pytest.fixture(scope="module")
def images():
    return np.asarray(simulate(jax.random.key(0), 50)[0]).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(images, tmp_path_factory):
    """Shards with the same fifty images in turns that differ."""
    folder = tmp_path_factory.mktemp("shards")
    many = np.resize(images, (IMAGES, 11, 11))
    for number in range(SHARDS):
        np.save(folder / f"part-{number:02d}.npy", np.roll(many, number, axis=0))
    return folder


@pytest.fixture(scope="module")
def command(tiny_run, folder):
    return ["unmix", str(folder), "--checkpoint", str(tiny_run), "--threshold", "20"]


@pytest.fixture(scope="module")
def whole(command, tmp_path_factory):
    """Results of a run that nothing stopped."""
    out = tmp_path_factory.mktemp("whole") / "out"
    main([*command, "--output", str(out)])
    return contents(out)


def contents(folder):
    """Returns the files of a folder, those that a killed process had begun left out."""
    return {path.name: path.read_bytes() for path in folder.glob("[!.]*")}


def start(command, out, *options):
    return subprocess.Popen(
        [DISTAX, *command, "--output", str(out), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_results(out, number):
    limit = time.monotonic() + 200
    while len(list(out.glob("[!.]*.parquet"))) < number:
        assert time.monotonic() < limit
        time.sleep(0.005)


def test_answers_are_the_checkpoint_s(whole, tiny_run, images, tmp_path, command, capsys):
    for name, content in whole.items():
        (tmp_path / name).write_bytes(content)
    found = Unmixer.load(tiny_run, threshold=20.0)(images.astype(np.float32))
    results = dict(read_results(tmp_path))
    assert sorted(results) == [f"part-{number:02d}" for number in range(SHARDS)]
    for number, read in enumerate(results.values()):
        order = np.roll(np.resize(np.arange(50), IMAGES), number)
        assert np.array_equal(read.mask.sum(axis=1), np.asarray(found.count)[order])
        first = np.where(found.mask.any(axis=1), np.asarray(found.intensity[:, 0]), 0)[order]
        assert np.array_equal(read.intensity[:, 0], first)
    main([*command, "--output", str(tmp_path)])
    assert "results of 8 of 8 shards, 0 images unmixed now" in capsys.readouterr().out
    assert contents(tmp_path) == whole


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_ends_early_is_resumed_to_the_same_files(end, command, whole, tmp_path):
    process = start(command, tmp_path)
    try:
        wait_for_results(tmp_path, 2)
        process.send_signal(end)
        err = process.communicate(timeout=100)[1]
    finally:
        process.kill()
    left = contents(tmp_path)
    assert left.items() < whole.items()
    if end == signal.SIGTERM:
        assert process.returncode == 128 + signal.SIGTERM
        done = len(left) - 1
        assert f"stopped: {done} of 8 shards are finished; run the same command" in err
        assert not list(tmp_path.glob(".*"))
    main([*command, "--output", str(tmp_path)])
    assert contents(tmp_path) == whole


def test_two_processes_share_the_shards(command, whole, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    cluster = ["--distributed", "--cluster.coordinator", address, "--cluster.process-count", "2"]
    processes = [
        start(command, tmp_path, *cluster, "--cluster.process-id", str(number))
        for number in range(2)
    ]
    try:
        ends = [process.communicate(timeout=240) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], ends
    assert all("results of 4 of 4 shards, 640 images unmixed now" in out for out, _ in ends)
    assert contents(tmp_path) == whole


def test_a_bad_shard_is_named_and_the_others_are_done(command, folder, whole, tmp_path, capsys):
    bad = tmp_path / "bad.npy"
    bad.write_bytes((folder / "part-00.npy").read_bytes()[:-1])
    with pytest.raises(SystemExit, match=r"^distax: 1 of 9 shards could not be unmixed$"):
        main([*command[:2], str(bad), *command[2:], "--output", str(tmp_path / "out")])
    assert f"distax: {bad}: truncated" in capsys.readouterr().err
    assert contents(tmp_path / "out") == whole


def test_a_pattern_and_another_format(command, folder, tmp_path, capsys):
    pattern = str(folder / "part-0[01].npy")
    out = str(tmp_path / "out")
    main(["unmix", pattern, *command[2:], "--output", out, "--format", "array_record"])
    assert "results of 2 of 2 shards, 320 images" in capsys.readouterr().out
    assert [name for name, _ in read_results(out)] == ["part-00", "part-01"]
    with pytest.raises(SystemExit, match="format array_record, now parquet"):
        main(["unmix", pattern, *command[2:], "--output", out])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--output", "o", "--json", "a.json"], "--json has no effect on the shards"),
        (["--output", "o", "--fit-sensor", "a.toml"], "--fit-sensor has no effect"),
        (["--output", "o", "--resume"], "--resume has no effect"),
        (["--output", "o", "--frame.sigma", "1"], "--frame options have no effect"),
        (["--output", "o", "--cluster.process-count", "2"], "--cluster need --distributed"),
        (["--format", "parquet"], "name the folder of their results by --output"),
        (["--distributed"], "name the folder of their results by --output"),
    ],
)
def test_options_without_effect_are_refused(options, message, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=re.escape(message)):
        main([*command, *options])
    assert not os.listdir()


def test_an_empty_name_is_refused_and_the_present_folder_is_not(
    command, folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"^distax: a path is empty; the present folder is '\.'$"):
        main([*command, "--output", ""])
    assert not os.listdir()
    main(["unmix", str(folder / "part-00.npy"), *command[2:], "--output", "."])
    assert sorted(os.listdir()) == ["_settings.json", "part-00.parquet"]
    assert "results of 1 of 1 shards" in capsys.readouterr().out


def test_an_output_that_is_a_link_to_itself_is_refused(command, tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(SystemExit, match=r"^distax: .*loop/_settings\.json: cannot be written \("):
        main([*command, "--output", str(tmp_path / "loop")])
