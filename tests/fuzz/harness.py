"""Reading of mutated files, each in bounded time and memory, and without any traceback."""

import signal
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import numpy as np

from distax import DistaxError
from tests.fuzz.changes import changed, random_changes
from tests.fuzz.kinds import Kind

MOST_SECONDS, MOST_BYTES = 5.0, 10**9
"""Time and memory that one file may take."""
_STATUS = Path("/proc/self/status")


class Hang(BaseException):
    """A file took too long. No reader can catch it as an error of the file."""


@dataclass
class Outcome:
    """What became of the mutated files of a kind.

    Attributes:
      read: number of files that were read.
      refused: number of files that were refused in one line.
      seconds, bytes: most time and memory that a file took.
      faults: what went wrong otherwise, with the number of the mutation.
    """

    read: int = 0
    refused: int = 0
    seconds: float = 0.0
    bytes: int = 0
    faults: list[str] = field(default_factory=list)


def fuzz(kind: Kind, folder: Path, numbers: range, seed: int = 0) -> Outcome:
    """Reads mutated files; the same seed and number give the same mutation."""
    outcome, names = Outcome(), sorted(kind.seeds)
    for name, content in kind.seeds.items():
        _write(folder / name, content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in names:  # also imports what reads them
            kind.read(folder / name)
    for number in numbers:
        rng = np.random.default_rng((seed, number))
        name = names[rng.integers(len(names))]
        path = folder / name
        _write(path, _mutated(kind, kind.seeds[name], rng))
        fault = _read(kind, path, outcome)
        if fault:
            outcome.faults.append(f"{name}, mutation {number}: {fault}")
        _write(path, kind.seeds[name])
    return outcome


def _mutated(kind: Kind, content: bytes, rng: np.random.Generator) -> bytes:
    """Changes a file's content, or one of its parts if the kind says how they are taken out."""
    if kind.packing is None:
        return changed(content, random_changes(rng, kind.is_text))
    parts = kind.packing.split(content)
    number = rng.integers(len(parts))
    parts[number] = changed(parts[number], random_changes(rng, kind.is_text))
    return kind.packing.join(content, parts)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _read(kind: Kind, path: Path, outcome: Outcome) -> str | None:
    """Reads a file, counts what became of it, and returns what went wrong."""
    before = _forget_peak()
    start = time.perf_counter()
    try:
        with _limited(MOST_SECONDS), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kind.read(path)
        outcome.read += 1
    except DistaxError as error:
        outcome.refused += 1
        if "\n" in str(error):
            return f"a message of several lines: {error}"
    except Hang:
        return f"it took more than {MOST_SECONDS:g} s"
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {error} ({last.filename}:{last.lineno})"
    finally:
        seconds, most = time.perf_counter() - start, _memory("VmHWM") - before
        outcome.seconds, outcome.bytes = max(outcome.seconds, seconds), max(outcome.bytes, most)
    return f"it took {most / 1e9:.1f} GB" if most > MOST_BYTES else None


def _forget_peak() -> int:
    """Makes the present memory the largest so far, and returns it in bytes.

    Unlike `tracemalloc`, which makes reading two to three times as slow, the system also sees what
    the libraries take that are not in Python.
    """
    if _STATUS.exists():
        Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


def _memory(name: str) -> int:
    """Returns a figure of this process's memory in bytes; 0 where the system is not Linux."""
    if not _STATUS.exists():
        return 0
    (line,) = (line for line in _STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raises Hang in the block after some seconds."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Hang

    previous = signal.signal(signal.SIGALRM, stop)
    # Again each second, because Python drops what is raised while it collects garbage.
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
