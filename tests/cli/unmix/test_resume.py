"""Runs of `unmix` that are stopped and resumed, compared with one that is not."""

import json
import os
import signal
from contextlib import contextmanager
from dataclasses import replace

import jax
import numpy as np
import pytest
from PIL import Image

from distax import Unmixer
from distax.cli.main import main
from distax.cli.unmix import pictures, runner
from distax.fitting import estimators
from distax.imaging.scenes import simulate
from distax.io.frames import open_frames

KINDS = {"json": "json", "csv": "csv", "table": "ecsv", "report": "html", "figure": "png"}
INTERRUPTED, TERMINATED = 130, 143


def interrupt():
    raise KeyboardInterrupt


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture(scope="module", autouse=True)
def few_at_once():
    """Limits portions to sixteen images, and the figure and the report to two pictures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(estimators, "_BATCHES_AT_ONCE", 1)
        patch.setattr(pictures, "MAX_ROWS", 2)
        patch.setattr(pictures, "MAX_PICTURES", 2)
        yield


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A stack of 21 images, and 24 files of one."""
    folder = tmp_path_factory.mktemp("images")
    images = np.asarray(simulate(jax.random.key(4), 45)[0])
    np.save(folder / "stack.npy", images[:21])
    for number, image in enumerate(images[21:]):
        Image.fromarray(image.astype(np.uint8)).save(folder / f"{number:02d}.png")
    return [folder / "stack.npy", *sorted(folder.glob("*.png"))]


def outputs(folder):
    return [f"--{kind}={folder / f'a.{suffix}'}" for kind, suffix in KINDS.items()]


@pytest.fixture(scope="module")
def command(files, tiny_run):
    return ["unmix", *map(str, files), "--checkpoint", str(tiny_run), "--threshold", "20"]


@pytest.fixture(scope="module")
def whole(command, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    main([*command, *outputs(folder)])
    return folder


def same(folder, whole):
    assert sorted(path.name for path in folder.iterdir()) == sorted(p.name for p in whole.iterdir())
    for path in whole.iterdir():
        assert (folder / path.name).read_bytes() == path.read_bytes(), path.name


@contextmanager
def stopped_at(file, stop):
    """Stops a run, within the block, when it opens a file."""

    def opened(path, extension):
        if path == file:
            stop()
        return open_frames(path, extension)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "open_frames", opened)
        yield


@pytest.mark.parametrize(("stop", "status"), [(interrupt, INTERRUPTED), (terminate, TERMINATED)])
def test_a_stopped_run_resumes_to_the_same_files(
    command, files, whole, tmp_path, capsys, stop, status
):
    # 16 + 16 images are unmixed by then: those of the stack and 11 more.
    with stopped_at(files[15], stop), pytest.raises(SystemExit) as caught:
        main([*command, *outputs(tmp_path)])
    assert caught.value.code == status
    (line,) = capsys.readouterr().err.splitlines()
    missing = ", ".join(map(str, files[12:15]))
    assert line == (
        f"distax: stopped: 12 of 25 files are finished; missing: {missing} and 10 more; run the "
        "same command with --resume to continue"
    )
    record = json.loads((tmp_path / "a.json").read_text())
    assert len(record["images"]) == 21 + 11
    assert list(record["files"].values()) == ["finished"] * 12 + ["unfinished"] * 13
    main([*command, *outputs(tmp_path), "--resume"])
    same(tmp_path, whole)


def test_a_run_resumes_within_a_stack_and_without_naming_files(
    command, files, whole, tmp_path, monkeypatch
):
    take, taken = runner.Runner._queue_image, []

    def until_the_twentieth(self, source, image):
        if len(taken) == 19:
            interrupt()
        taken.append(source)
        take(self, source, image)

    with monkeypatch.context() as patch:
        patch.setattr(runner.Runner, "_queue_image", until_the_twentieth)
        with pytest.raises(SystemExit):
            main([*command, f"--json={tmp_path / 'a.json'}"])
    record = json.loads((tmp_path / "a.json").read_text())
    assert [answer["image"] for answer in record["images"]] == list(range(16))
    options = command[1 + len(files) :]
    main(["unmix", *options, f"--json={tmp_path / 'a.json'}", "--resume"])
    assert (tmp_path / "a.json").read_bytes() == (whole / "a.json").read_bytes()


def test_what_failed_is_tried_again_and_new_files_come_last(command, files, whole, tmp_path):
    options = [*command[1 + len(files) :], *outputs(tmp_path)]
    hidden = files[1].rename(files[1].with_suffix(".hidden"))
    with pytest.raises(SystemExit, match="1 of 20 files could not be unmixed"):
        main([*command[:21], *options])
    hidden.rename(files[1])
    main(["unmix", *command[21 : 1 + len(files)], *options, "--resume"])
    same(tmp_path, whole)


def test_an_answer_that_is_not_finite_costs_no_other(
    command, files, whole, tmp_path, monkeypatch, capsys
):
    unmix = Unmixer.unmix_portion

    def faulty(self, images):
        found = unmix(self, images)
        position = np.array(found.position)
        position[5] = np.nan
        return replace(found, position=position, mask=np.ones_like(found.mask))

    with monkeypatch.context() as patch:
        patch.setattr(Unmixer, "unmix_portion", faulty)
        with pytest.raises(SystemExit, match="2 of 2 files could not be unmixed"):
            main(["unmix", *command[1:3], *command[-4:], f"--json={tmp_path / 'a.json'}"])
    assert capsys.readouterr().err.splitlines() == [
        f"distax: {files[0]}: image 5, a target has nan as its row",
        f"distax: {files[1]}: image 0, a target has nan as its row",
    ]
    record = json.loads((tmp_path / "a.json").read_text())
    assert set(record["files"].values()) == {"failed"}
    assert [answer["image"] for answer in record["images"]] == [*range(5), *range(6, 21)]
    main([*command, f"--json={tmp_path / 'a.json'}", "--resume"])
    assert (tmp_path / "a.json").read_bytes() == (whole / "a.json").read_bytes()


def test_a_file_that_has_changed_is_unmixed_again(command, files, tmp_path, capsys):
    copies = [tmp_path / name for name in ("a.npy", "b.npy", "c.npy")]
    for path in copies:
        np.save(path, np.load(files[0])[:2])
    options = [*command[1 + len(files) :], f"--json={tmp_path / 'a.json'}"]
    main(["unmix", *map(str, copies), *options])
    before = json.loads((tmp_path / "a.json").read_text())
    np.save(copies[1], np.load(files[0])[2:4])
    copies[2].unlink()
    capsys.readouterr()
    main(["unmix", *options, "--resume"])
    assert capsys.readouterr().err == (
        f"distax: {copies[1]}: changed since it was unmixed, and is unmixed again\n"
    )
    after = json.loads((tmp_path / "a.json").read_text())
    first, second, third = (after["images"][2 * k : 2 * k + 2] for k in range(3))
    assert first + third == before["images"][:2] + before["images"][4:]
    assert second != before["images"][2:4]
    assert after["contents"][str(copies[0])] == before["contents"][str(copies[0])]
    assert after["contents"][str(copies[1])] != before["contents"][str(copies[1])]


def test_a_limit_of_size_may_change(command, whole):
    main([*command, f"--json={whole / 'a.json'}", "--resume", "--max-gigabytes", "1"])


def test_resuming_needs_answers_under_the_same_options(command, whole):
    with pytest.raises(
        SystemExit, match="--resume needs the answers of an earlier run: name its --json"
    ):
        main([*command, "--resume"])
    other = [*command[:-1], "30", f"--json={whole / 'a.json'}", "--resume"]
    with pytest.raises(SystemExit, match=r"come from other settings \(threshold 20.0, now 30.0\)"):
        main(other)


def test_without_a_json_file_the_message_advises_one(command, files, capsys):
    with stopped_at(files[0], interrupt), pytest.raises(SystemExit):
        main(command)
    assert "0 of 25 files are finished" in (line := capsys.readouterr().err)
    assert "give a --json file next time" in line
