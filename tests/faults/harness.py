"""Commands that are killed at random moments, or whose disk is full, and what they leave."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests.faults.processes import Command
from tests.faults.works import RUN, Work

_PAGE = 4096
_POLL = 0.002
"""Seconds between two looks at what a command has written."""
_UNFINISHED = re.compile(r"^\.(?!lock$)|tmp|incomplete")
"""Pattern of the names of unfinished files and folders, of distax, Orbax and TFDS."""


@dataclass
class Outcome:
    """What became of the disturbed commands.

    Attributes:
      trials: number of commands.
      ended: number of commands that were done before they were disturbed.
      begun: number of killed commands that left a file, if only an unfinished one.
      absent: number of commands that left no finished file.
      faults: what was not as it should be, with the number of the trial.
    """

    trials: int = 0
    ended: int = 0
    begun: int = 0
    absent: int = 0
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Reference:
    """An undisturbed run of a work.

    Attributes:
      values: what it wrote.
      names: names of all files and folders.
      seconds: time that it took.
      made: number of files that it made, with those that were renamed or deleted later.
      pause: mean time from one of them to the next, or to the end.
    """

    values: dict[str, Any]
    names: frozenset[str]
    seconds: float
    made: int
    pause: float


def make_inputs(folder: Path) -> None:
    """Makes the inputs of all works: images, shards of them, a small frame and a trained run."""
    for words in (("samples", "--out", str(folder)), ("train", "--run-dir", "run", *RUN)):
        status, errors = Command(words, folder).finish()
        assert status == 0, errors
    images = np.load(folder / "blobs.npy")
    np.save(folder / "many.npy", np.tile(images, (4, 1, 1)))
    (folder / "shards").mkdir()
    for number in range(4):
        np.save(folder / f"shards/{number}.npy", np.tile(images, (30, 1, 1)))
    np.save(folder / "frame.npy", np.load(folder / "moving.npy")[0])


def undisturbed(work: Work, inputs: Path, output: Path) -> Reference:
    """Runs a work without disturbance twice, and returns the second run."""
    for _ in range(2):  # the first run fills the cache of compiled programs
        shutil.rmtree(output, ignore_errors=True)
        output.mkdir(parents=True)
        start = time.monotonic()
        command = _start(work, work.arguments, inputs, output)
        _wait_for_files(command, output, 1)
        first = time.monotonic()
        made = _wait_for_files(command, output, None)
        end = time.monotonic()
        status, errors = command.finish()
        assert status == 0, errors
    return Reference(work.read(output), _names(output), end - start, made, (end - first) / made)


def kill(work: Work, inputs: Path, output: Path, trials: int, rng: np.random.Generator) -> Outcome:
    """Kills a work with SIGKILL at random moments, and runs it again each time.

    Half of the moments are drawn from the time of the whole run. The others come soon after one of
    the command's files, because many commands write only for some milliseconds at their end.
    """
    expected = undisturbed(work, inputs, output)
    outcome = Outcome()
    for trial in range(trials):
        shutil.rmtree(output)
        output.mkdir()
        command = _start(work, work.arguments, inputs, output)
        if trial % 2:
            _wait_for_files(command, output, int(rng.integers(1, expected.made, endpoint=True)))
        ended = command.ends_within(rng.uniform(0, (expected.seconds, expected.pause)[trial % 2]))
        command.kill()
        outcome.ended += ended
        outcome.begun += not ended and bool(_files(output))
        fault = _left(work, output, expected.values, outcome)
        if not fault and any(output.iterdir()):  # otherwise it would be the undisturbed run again
            fault = _again(work, inputs, output, expected)
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
    expected = undisturbed(work, inputs, disk / "reference")
    room = sum(path.stat().st_size for path in _files(disk / "reference"))
    outcome = Outcome()
    for size in sizes:
        output = disk / "small"
        with _mounted(output, int(size * room)) as enlarge:
            status, errors = _start(work, work.arguments, inputs, output).finish()
            outcome.trials += 1
            outcome.ended += status == 0
            fault = _left(work, output, expected.values, outcome) or _said(status, errors)
            enlarge()
            fault = fault or _again(work, inputs, output, expected)
            if fault:
                outcome.faults.append(f"room for {size:.0%}: {fault}")
    return outcome


def _wait_for_files(command: Command, output: Path, number: int | None) -> int:
    """Waits until a command has made a number of files or has ended.

    Args:
      command: the command.
      output: folder of its files.
      number: number of files. Default: to the end.

    Returns:
      The number of files that were seen.
    """
    seen: set[Path] = set()
    while (number is None or len(seen) < number) and not command.ends_within(_POLL):
        seen.update(_files(output))
    return len(seen)


def _files(folder: Path) -> list[Path]:
    """Returns all files in a folder, also hidden ones, but for locks."""
    # os.walk passes over folders that vanish meanwhile, which rglob does not.
    places = ((Path(root), names) for root, _, names in os.walk(folder))
    return [root / name for root, names in places for name in names if name != ".lock"]


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


def _again(work: Work, inputs: Path, output: Path, expected: Reference) -> str | None:
    """Runs a disturbed command again; returns what is wrong with its result, if anything is."""
    began = any(path.is_file() for path in output.iterdir() if not path.name.startswith("."))
    words = work.again if work.again and began else work.arguments
    status, errors = _start(work, words, inputs, output).finish()
    if status:
        return f"run again it ended with status {status}: {errors[-300:]}"
    found = work.read(output)
    values = expected.values
    wrong = [name for name in values.keys() | found if values.get(name) != found.get(name)]
    if wrong:
        return f"run again it gave other values in {', '.join(sorted(wrong)[:3])}"
    left = [name for name in _names(output) - expected.names if _UNFINISHED.search(name)]
    return f"unfinished files stay: {', '.join(left)}" if left else None


def _names(folder: Path) -> frozenset[str]:
    return frozenset(path.name for path in folder.rglob("*"))


def _said(status: int, errors: str) -> str | None:
    """Returns what is wrong with how a command on a full disk ended, if anything is."""
    if "Traceback" in errors:
        return f"a traceback: {errors[-300:]}"
    if status and "distax: " not in errors:
        return f"status {status} without a line that says why: {errors[-300:]}"
    return None


def _start(work: Work, words: tuple[str, ...], inputs: Path, output: Path) -> Command:
    named = [word.format(input=inputs, output=output) for word in words]
    return Command(named, inputs, work.prepare)


@contextmanager
def _mounted(folder: Path, size: int) -> Iterator[Callable[[], None]]:
    """Mounts a disk of a size in bytes in memory; yields a function that makes it large.

    Linux gives a disk in memory one page at least, which is filled here if it is too large.
    """
    folder.mkdir(exist_ok=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={max(size, _PAGE)}", "tmpfs", str(folder))
    filler = Path(folder, ".filler")
    if size < _PAGE:
        filler.write_bytes(bytes(_PAGE))

    def enlarge() -> None:
        _run("mount", "-o", "remount,size=1g", str(folder))
        filler.unlink(missing_ok=True)

    try:
        yield enlarge
    finally:
        _run("umount", "-l", str(folder))


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)
