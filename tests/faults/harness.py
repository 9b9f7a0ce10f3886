"""Commands that are killed at random moments, or whose disk is full, and what they leave."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests.faults.works import RUN, Work

_LIMIT = 600
"""Seconds after which a command counts as hanging."""


@dataclass
class Outcome:
    """What became of the disturbed commands.

    Attributes:
      trials: number of commands.
      ended: number of commands that were done before they were disturbed.
      absent: number of commands that left nothing.
      faults: what was not as it should be, with the number of the trial.
    """

    trials: int = 0
    ended: int = 0
    absent: int = 0
    faults: list[str] = field(default_factory=list)


def make_inputs(folder: Path) -> None:
    """Makes the inputs of all works: images and a trained run."""
    for words in (("samples", "--out", str(folder)), ("train", "--run-dir", "run", *RUN)):
        done = _start(words, folder)
        _, errors = done.communicate(timeout=_LIMIT)
        assert done.returncode == 0, errors
    np.save(folder / "many.npy", np.tile(np.load(folder / "blobs.npy"), (40, 1, 1)))


def undisturbed(work: Work, inputs: Path, output: Path) -> tuple[dict[str, Any], float]:
    """Runs a work without disturbance twice; returns what it wrote and the second run's time."""
    for _ in range(2):  # the first run fills the cache of compiled programs
        shutil.rmtree(output, ignore_errors=True)
        output.mkdir(parents=True)
        start = time.monotonic()
        status, errors = _finish(_start_work(work.arguments, inputs, output))
        seconds = time.monotonic() - start
        assert status == 0, errors
    return work.read(output), seconds


def kill(work: Work, inputs: Path, output: Path, trials: int, rng: np.random.Generator) -> Outcome:
    """Kills a work with SIGKILL at random moments, and runs it again each time."""
    expected, seconds = undisturbed(work, inputs, output)
    outcome = Outcome()
    for trial in range(trials):
        shutil.rmtree(output)
        output.mkdir()
        process = _start_work(work.arguments, inputs, output)
        try:
            process.wait(timeout=rng.uniform(0, seconds))
            outcome.ended += 1
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        fault = _left(work, output, expected, outcome) or _again(work, inputs, output, expected)
        outcome.trials += 1
        if fault:
            outcome.faults.append(f"trial {trial}: {fault}")
    return outcome


def fill(work: Work, inputs: Path, disk: Path, sizes: list[float]) -> Outcome:
    """Runs a work on disks with room for a share of what it writes, and again with enough room.

    Args:
      work: the work.
      inputs: folder of the inputs.
      disk: folder on which small disks are mounted.
      sizes: shares of the room that the work needs.
    """
    disk.mkdir(parents=True, exist_ok=True)
    expected, _ = undisturbed(work, inputs, disk / "reference")
    room = sum(path.stat().st_size for path in (disk / "reference").rglob("*") if path.is_file())
    outcome = Outcome()
    for size in sizes:
        output = disk / "small"
        with _mounted(output, max(4096, int(size * room))) as enlarge:
            status, errors = _finish(_start_work(work.arguments, inputs, output))
            outcome.trials += 1
            outcome.ended += status == 0
            fault = _left(work, output, expected, outcome) or _said(status, errors)
            enlarge()
            fault = fault or _again(work, inputs, output, expected)
            if fault:
                outcome.faults.append(f"room for {size:.0%}: {fault}")
    return outcome


def _left(work: Work, output: Path, expected: dict[str, Any], outcome: Outcome) -> str | None:
    """Returns what is wrong with the files that a disturbed command left, if anything is."""
    try:
        left = work.read(output)
    except Exception as error:  # whatever a reader says of a file that is not whole
        return f"left what cannot be read ({type(error).__name__}: {error})"
    outcome.absent += not left
    if work.partial:
        return None
    wrong = [name for name, value in left.items() if expected.get(name) != value]
    return f"left other values in {', '.join(wrong)}" if wrong else None


def _again(work: Work, inputs: Path, output: Path, expected: dict[str, Any]) -> str | None:
    """Runs a disturbed command again; returns what is wrong with its result, if anything is."""
    began = any(path.is_file() for path in output.iterdir() if not path.name.startswith("."))
    words = work.again if work.again and began else work.arguments
    status, errors = _finish(_start_work(words, inputs, output))
    if status:
        return f"run again it ended with status {status}: {errors[-300:]}"
    found = work.read(output)
    wrong = [name for name in expected.keys() | found if expected.get(name) != found.get(name)]
    if wrong:
        return f"run again it gave other values in {', '.join(sorted(wrong)[:3])}"
    hidden = [path.name for path in output.iterdir() if path.name.startswith(".")]
    left = [name for name in hidden if not name.endswith(".lock")]
    return f"unfinished files stay: {', '.join(left)}" if left else None


def _said(status: int, errors: str) -> str | None:
    """Returns what is wrong with how a command on a full disk ended, if anything is."""
    if "Traceback" in errors:
        return f"a traceback: {errors[-300:]}"
    if status and "distax: " not in errors:
        return f"status {status} without a line that says why: {errors[-300:]}"
    return None


def _start_work(words: tuple[str, ...], inputs: Path, output: Path) -> subprocess.Popen[str]:
    return _start([word.format(input=inputs, output=output) for word in words], inputs)


def _start(words: Any, folder: Path) -> subprocess.Popen[str]:
    """Starts `distax` in a process group of its own, so that a kill reaches its children."""
    return subprocess.Popen(
        [Path(sys.executable).with_name("distax"), *words],
        cwd=folder,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    try:
        _, errors = process.communicate(timeout=_LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return -signal.SIGKILL, f"did not end within {_LIMIT} s"
    return process.returncode, errors


@contextmanager
def _mounted(folder: Path, size: int) -> Iterator[Callable[[], None]]:
    """Mounts a disk of a size in bytes in memory; yields a function that makes it large."""
    folder.mkdir(exist_ok=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    try:
        yield lambda: _run("mount", "-o", "remount,size=1g", str(folder))
    finally:
        _run("umount", "-l", str(folder))


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)
